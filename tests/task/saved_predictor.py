"""A model in a folder, untrained, with what a comparison keeps beside it to predict rows or things."""

import numpy as np
import torch

import blockyard as by
from blockyard.model.save import save_model
from blockyard.source import read
from blockyard.task import make_task
from blockyard.train.loop import to_batch


def written(folder, rows=200, name="old.csv", mark=",", change=None):
    """A CSV of numbers, words, yes and no in numbers, times and empty cells; `y` and `kind` are to be predicted."""
    draw = np.random.default_rng(0)
    a, c = draw.normal(5, 3, rows), draw.choice(["red", "green", "blue"], rows)
    when = np.datetime64("2024-01-01") + draw.integers(0, 90, rows)
    y = a + 4.0 * (c == "red") + draw.normal(0, 1, rows)
    columns = {
        "a": [f"{x:.3f}" if i % 9 else "" for i, x in enumerate(a)], 
        "code": [f"00{k}" for k in draw.integers(1, 4, rows)],
        "c": c, "flag": [str(k) for k in draw.integers(0, 2, rows)], "when": [str(each) for each in when],
        "y": [f"{x:.4f}" for x in y], "kind": np.where(y > 6, "hi", "lo"),
    }  # fmt: skip
    lines = [list(columns), *map(list, zip(*columns.values()))]
    if change is not None:
        lines = change(lines)
    text = "\n".join(mark.join(line) for line in lines) + "\n"
    (folder / name).write_text(text.replace(".", ",") if mark == ";" else text)
    return str(folder / name)


def predicting(model):
    @torch.no_grad()
    def predict(rows):
        said = model(model.blind(to_batch(rows, "cpu"))).prediction
        return {name: value.numpy() for name, value in said.items()}

    return predict


def saved(folder, data, task, recipe="llama", wanted=("table",), **settings):
    """The folder of a model that was made for these data, its material, and itself."""
    material = make_task(task).material(read([str(data)], wanted))
    model = by.build(material.fit(by.spec(recipe, "tiny", **settings)), seed=3).eval()
    for part in model.parameters():
        part.data.add_(0.2 * torch.randn(part.shape, generator=torch.Generator().manual_seed(part.numel())))
    save_model(model, folder / "model", tokenizer=material.tokenizer, beside=material.beside(predicting(model)))
    return str(folder / "model"), material, model
