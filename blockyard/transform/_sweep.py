"""From front to back through a model: what its projections read, each after those before it were changed.

    for part, rows in sweep(model, data):       # projections in the order of the forward
        second_moment(rows) ...                 # what it reads, batch by batch
        part.weight.copy_(...)                  # what comes later reads through the new weight

Inputs are read at the hook point `linear_in`. Where every step runs once and in order, the streams in front of a step
are kept and nothing is computed twice; otherwise the whole model runs again for each projection.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from blockyard.core.batch import Batch
from blockyard.core.errors import UsageError
from blockyard.core.part import Part
from blockyard.model.model import Model, build
from blockyard.model.save import fill, stored
from blockyard.transform._base import check_patterns, matches

POINT = "linear_in"
Rows = Iterator[Tensor]


def projections(model: Model) -> list[Any]:
    """The projections whose input can be read and whose weight is a matrix in full."""
    return [part for part in model.parts() if POINT in part.points and isinstance(_weight(part), nn.Parameter)]


def wanted(model: Model, keep: tuple[str, ...]) -> list[Any]:
    """The projections that no pattern keeps."""
    known = projections(model)
    check_patterns(model, keep, [part.path for part in known])
    found = [part for part in known if not matches(part.path, keep)]
    if not found:
        raise UsageError("nothing to round: the model has no projection in full numbers that is not kept")
    return found


def left_of(model: Model, covered: Collection[str]) -> tuple[str, ...]:
    """The paths of all that owns a matrix and is not among those covered: tables, thin pairs, what was kept."""
    owners = [use.path.rpartition(".")[0] for use in model.uses if len(use.axes) > 1 and not use.of]
    return tuple(dict.fromkeys(path for path in owners if path not in covered))


def copied(model: Model) -> Model:
    """The same model with numbers of its own."""
    with torch.device("meta"):
        made = build(model.spec)
    tensors = {name: tensor.detach().clone() for name, tensor in stored(model).items()}
    return fill(made, tensors, next(model.parameters()).device)


def sweep(model: Model, data: Sequence[Batch]) -> Iterator[tuple[Any, Rows]]:
    """Every projection, and the rows (n,I) that it reads, batch by batch, of the tokens that count."""
    known = {part.path: part for part in projections(model)}
    steps = range(len(model.steps))
    plain = model.depth.order() == [(step, 0) for step in steps]
    flows, at = [], 0
    for step, path in _order(model, data[0].rows(slice(0, 1)), known):
        if plain and step in steps:
            flows = flows or [model.start(batch) for batch in data]
            for before in range(at, step):
                flows = [model.run(flow, [before]) for flow in flows]
            at = step
            points = {(path, POINT): "read"}
            asked = [flow._replace(call=flow.call._replace(points=points)) for flow in flows]
            found = [model.run(flow, [step]).captures for flow in asked]
        else:
            found = [model(batch, points={f"{path}:{POINT}": "read"}).captures for batch in data]
        yield known[path], _rows(found, path, data)


def second_moment(rows: Rows) -> Tensor:
    """(I,I) in double precision: twice the mean of x x^T."""
    total, count = torch.zeros(()), 0
    for piece in rows:
        wide = piece.double()
        total, count = total.to(wide.device) + wide.T @ wide, count + len(wide)
    return 2 * total / max(1, count)


def _weight(part: Part) -> Any:
    return getattr(part, "weight", None)


def _order(model: Model, batch: Batch, known: Collection[str]) -> list[tuple[int, str]]:
    """The step and the path of every projection, in the order in which they first read."""
    points = {f"{path}:{POINT}": "read" for path in known}
    first: dict[str, int] = {}
    for step, _, path, _ in model(batch, points=points).captures:
        first.setdefault(path, step)
    return [(step, path) for path, step in first.items()]


def _rows(captures: Sequence[dict[Any, Tensor]], path: str, data: Sequence[Batch]) -> Rows:
    for found, batch in zip(captures, data):
        for (_, _, of, name), value in found.items():
            if of == path and name == POINT:
                counted = batch.valid is not None and batch.valid.shape == value.shape[:2]
                yield value[batch.valid] if counted else value.flatten(0, -2)
