"""Whether two models are built of the same parts: the first difference in words, or none.

Specs may say one thing in many ways: a setting that is left out, a size that follows from others, an edit, the name of
a block. What was built says it in one.
"""

import inspect
from typing import Any

from blockyard.core.axis import Axis
from blockyard.core.part import Depth, Part
from blockyard.core.spec import Spec
from blockyard.model.model import Model

FIRST = ("std",)  # settings of the first numbers alone, which a trained model has left behind


def difference(ours: Model, other: Model) -> str | None:
    """Where the two are not the same, and how; None where they are. Their numbers are not looked at."""
    if (found := _other(_shape(ours), _shape(other))) is not None:
        return found
    for name, tower in ours.towers.items():
        their = other.towers[name]
        if isinstance(tower, Model) and isinstance(their, Model) and (found := _other(_shape(tower), _shape(their))):
            return f"{name}: {found}"
    mine, theirs = _parts(ours), _parts(other)
    for path, part in mine.items():
        if path not in theirs:
            return f"{path} ({part.spec.kind}:{part.spec.name}) is not there"
        if (found := _parted(part, theirs[path])) is not None:
            return f"{path}: {found}"
    if extra := next((path for path in theirs if path not in mine), None):
        return f"{extra} ({theirs[extra].spec.kind}:{theirs[extra].spec.name}) is not here"
    return _other(_sizes(ours), _sizes(other))


def _sizes(model: Model) -> dict[str, Any]:
    """The size of every axis and the shape of every tensor, by path."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    shapes = {path: tuple(tensor.shape) for path, tensor in tensors}
    return {path: axis.size for path, axis in model.axes.items()} | shapes


def _other(mine: dict[str, Any], theirs: dict[str, Any]) -> str | None:
    for path in sorted({*mine, *theirs}):
        if mine.get(path) != theirs.get(path):
            return f"{path} is {mine.get(path, 'missing')} here and {theirs.get(path, 'missing')} there"
    return None


def resolved(part: Part, name: str) -> Any:
    """What a setting of a part came to: as it was given, as it is by default, or as the part worked it out."""
    given = dict(part.spec.settings)
    usual = inspect.signature(type(part).__init__).parameters
    value = given.get(name, usual[name].default if name in usual else None)
    if value is None:
        made = getattr(part, name, None)
        value = made.size if isinstance(made, Axis) else made if isinstance(made, int | float) else None
    return value


def _parts(model: Model) -> dict[str, Part]:
    """The parts by path, without the depth program, whose plan is compared."""
    return {part.path: part for part in model.parts() if part is not model.depth}


def _shape(model: Model) -> dict[str, Any]:
    return {
        "the way of reading": "from left to right" if model.causal else "both ways",
        "the width": model.stream.size,
        "the order of layers": [(len(each), n) for each, (_, n) in zip(model.depth.blocks, model.depth.plan())],
        "what runs": model.depth.runs(),
        "layers one after the other": type(model.depth).forward is Depth.forward,
        "towers": sorted(model.towers),
        "a table used twice": "head.table" not in dict(model.named_parameters()),
    }


def _parted(ours: Part, other: Part) -> str | None:
    """The first difference between the settings of two parts; what stands in their slots is compared as parts."""
    if (ours.spec.kind, ours.spec.name) != (other.spec.kind, other.spec.name):
        return f"{ours.spec.kind}:{ours.spec.name} here and {other.spec.kind}:{other.spec.name} there"
    for name, at in inspect.signature(type(ours).__init__).parameters.items():
        if at.kind is not inspect.Parameter.KEYWORD_ONLY or name in FIRST:
            continue
        mine, theirs = resolved(ours, name), resolved(other, name)
        if mine == theirs or any(isinstance(value, Spec) for value in (mine, theirs)):
            continue
        if None in (mine, theirs) and all(type(value) in (int, bool, type(None)) for value in (mine, theirs)):
            continue  # a size or a bias that followed from others: axes and parameters are compared
        return f"{name}={mine!r} here and {theirs!r} there"
    return None
