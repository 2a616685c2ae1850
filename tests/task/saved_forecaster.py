"""A forecaster in a folder, untrained, with what a comparison keeps beside it; and files for it to go on from."""

import numpy as np
import torch

import blockyard as by
from blockyard.core import Batch
from blockyard.source import read
from blockyard.task import make_task


def written(folder, rows=300, name="my.csv", step="h", mark=",", change=None, **columns):
    """A CSV of two waves by the hour, or of these columns."""
    t = np.arange(rows)
    when = np.datetime64("2024-01-01T00:00") + t * np.timedelta64(1, step)
    draw = np.random.default_rng(0)
    waves = {"load": 20 + 5 * np.sin(t / 24 * 2 * np.pi) + draw.standard_normal(rows), "temp": t % 7.0}
    cells = [[str(at), *(f"{x:.4f}" for x in row)] for at, *row in zip(when, *(columns or waves).values())]
    lines = [["when", *(columns or waves)], *cells]
    if change is not None:
        lines = change(lines)
    (folder / name).write_text("\n".join(mark.join(line) for line in lines) + "\n")
    return str(folder / name)


def predicting(model):
    @torch.no_grad()
    def predict(rows):
        said = model(Batch(torch.from_numpy(rows["tokens"]))).prediction
        return {name: value.numpy() for name, value in said.items()}

    return predict


def saved(folder, file, recipe="nlinear", **settings):
    """The folder of a model that was made for this file, and its material."""
    asked = dict(horizon=6, length=24) | settings
    task = make_task("forecast:" + ",".join(f"{name}={value}" for name, value in asked.items()))
    material = task.material(read([file], ("table",)))
    own = dict(length=24) if recipe in ("nlinear", "dlinear", "patchtst") else {}
    model = by.build(material.fit(by.spec(recipe, "tiny", **own))).eval()
    model_folder = folder / "model"
    from blockyard.model.save import save_model

    save_model(model, model_folder, beside=material.beside(predicting(model)))
    return str(model_folder), material, model
