"""What a transform promises, on a small model."""

import tempfile
from collections.abc import Iterator
from typing import Any

import torch

from blockyard.core.errors import UsageError
from blockyard.core.registry import Entry
from blockyard.core.settings import check_settings
from blockyard.model.claims import Verdict
from blockyard.model.model import Model, build
from blockyard.model.save import fill, load_model, stored
from blockyard.systems import build as of_recipe
from blockyard.transform._base import Transform, make_transform

ROWS, LENGTH = 4, 16  # of a batch that it is shown


@torch.no_grad()
def promises(entry: Entry, settings: dict[str, Any]) -> Iterator[Verdict]:
    """Each promise with what came of it; without settings those of the class's `example`."""
    model = of_recipe(entry.constant("base", "llama"), size="tiny").eval()
    if first := entry.constant("after"):
        model = make_transform(first).apply(model).model.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    given = check_settings(entry, entry.constant("example", {}) | settings)
    transform: Transform = entry.load_named()(**given)
    transform.learn = _nudged
    drawn = torch.random.get_rng_state()
    data = [model.example(ROWS, LENGTH, torch.Generator().manual_seed(seed)) for seed in range(2)]
    planned, found = transform.plan(model), transform.apply(model, data)
    made = found.model.eval()
    says = _says(made)
    yield Verdict("its model predicts", bool(says.isfinite().all()) and says.shape == _says(model).shape)
    same = all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    yield Verdict("leaves the model it was given", same and before.keys() == model.state_dict().keys())
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in build(made.spec).state_dict().items()}
    yield Verdict("leaves the dice", torch.equal(drawn, torch.random.get_rng_state()))
    yield Verdict(
        "plans what it does", bool(planned) and planned.keys() >= found.covered.keys() and bool(found.covered)
    )
    again = transform.apply(model, data).model
    yield Verdict("makes the same twice", torch.equal(_says(again), says))
    with torch.device("meta"):
        bare = build(model.spec)
        shape = bare.example(ROWS, LENGTH)
    outline = transform.apply(bare, [shape, shape]).model
    sizes = [sorted(tuple(tensor.shape) for tensor in each.state_dict().values()) for each in (outline, made)]
    yield Verdict("outlines its result", sizes[0] == sizes[1])
    yield Verdict("its spec builds the same", shapes == {name: v.shape for name, v in made.state_dict().items()})
    with tempfile.TemporaryDirectory() as folder:
        made.save(f"{folder}/model")
        try:
            again = _says(load_model(f"{folder}/model").eval())
        except UsageError:
            again = torch.zeros(0)
    yield Verdict("is saved and loaded with the same numbers", torch.equal(again, says))


def _nudged(model: Model, tokens: int, rate: float) -> Model:
    """Other numbers in the same places, as training leaves them."""
    moved = {name: value * 1.01 if value.is_floating_point() else value for name, value in stored(model).items()}
    with torch.device("meta"):
        made = build(model.spec)
    return fill(made, moved, next(model.parameters()).device)


def _says(model: Model) -> torch.Tensor:
    """What a model says of an example of what it reads."""
    said = model(model.example(2, 9, torch.Generator().manual_seed(0)))
    return next(iter(said.prediction.values()))
