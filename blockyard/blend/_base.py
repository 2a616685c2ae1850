"""The contract of a blend, and the one way in which it is done.

    mixed = blend([a, b], base)        dictionaries of tensors by path, in the widest precision; the given stay

Models are of one spec, or the first difference is named. What no gradient learns must be equal in all of them, but for
statistics, of which the mean is taken. A blend changes numbers alone, so the result has that spec as well.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from blockyard.core import registry
from blockyard.core.call import widest_dtype
from blockyard.core.errors import UsageError
from blockyard.core.spec import Spec
from blockyard.model.model import Model, build
from blockyard.model.save import fill, stored
from blockyard.systems import parse_blend

Tensors = Mapping[str, Tensor]


class Blend(ABC):
    """The base of all blends; the keyword-only arguments of the constructor are its settings.

    based   whether it needs the model that all of them were trained from
    most    how many models it takes at most; 0: any number
    """

    based: ClassVar[bool] = False
    most: ClassVar[int] = 0

    @abstractmethod
    def __call__(self, models: Sequence[Tensors], base: Tensors) -> dict[str, Tensor]:
        """One tensor for every path, of the same tensors of all models and of their base (empty where it is not
        asked)."""


def make_blend(what: str | Spec) -> Blend:
    """The blend of `NAME:key=value,...` or of its spec."""
    spec = parse_blend(what) if isinstance(what, str) else what
    made = registry.find("blend", spec.name).load_named()(**dict(spec.settings))
    assert isinstance(made, Blend)
    return made


@torch.no_grad()
def merge(models: Sequence[Model], how: str | Spec = "linear", base: Model | None = None) -> Model:
    """One model of several of the same spec, which stay as they are: `merge([a, b], "linear:weights=(0.3,0.7)")`.

    models   two or more, or one; their specs are the same, edits included
    how      a blend with its settings, as `blockyard list blend` names them
    base     the model that all were trained from, where the blend needs it
    """
    blend = make_blend(how)
    name = how.partition(":")[0] if isinstance(how, str) else how.name
    if len(models) < 1 or (blend.most and len(models) > blend.most):
        raise UsageError(f"{name} takes {f'1 to {blend.most}' if blend.most else 'some'} models, not {len(models)}")
    if blend.based and base is None:
        raise UsageError(f"{name} needs the model that these were trained from (--base)")
    if not blend.based and base is not None:
        raise UsageError(f"{name} does not look at a base; leave it out")
    every = [*models, *([] if base is None else [base])]
    for other in every[1:]:
        check_same(every[0].spec, other.spec)
    held = [dict(stored(each)) for each in every]
    learnt = {path for path, value in models[0].named_parameters() if value.is_floating_point()}
    kept = {use.path for use in models[0].uses if use.kept}
    for path, value in held[0].items():
        if path not in learnt | kept and not all(torch.equal(value, other[path]) for other in held[1:]):
            raise UsageError(f"{path} is not learned in full numbers and differs: merge first, then quantise")
    wide = widest_dtype(next(models[0].parameters()).device)
    given = [{path: each[path].detach().to(wide) for path in learnt} for each in held]
    mixed = blend(given[: len(models)], given[-1] if base is not None else {})
    made = {path: mixed[path].to(value.dtype) if path in learnt else value for path, value in held[0].items()}
    for path in kept & made.keys():
        made[path] = held[0][path] + sum(each[path] - held[0][path] for each in held[1 : len(models)]) / len(models)
    with torch.device("meta"):
        outline = build(models[0].spec)
    device = next(iter(made.values())).device
    return fill(outline, {path: value.detach().clone() for path, value in made.items()}, device)


def check_same(a: Spec, b: Spec) -> None:
    """Refuse two models of which one is another, and name the first thing that differs."""
    found = _first(a.to_json(), b.to_json(), "")
    if found is not None:
        path, one, other = found
        raise UsageError(f"the models are not of one spec: {path} is {one} in the first and {other} in another")


def _first(a: Any, b: Any, path: str) -> tuple[str, str, str] | None:
    """Where two documents differ first, and what stands there."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in [*a, *(key for key in b if key not in a)]:
            inner = path if key == "settings" else f"{path}.{key}".strip(".")
            if found := _first(a.get(key), b.get(key), inner):
                return found
        return None
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return next((found for i, (x, y) in enumerate(zip(a, b)) if (found := _first(x, y, f"{path}.{i}"))), None)
    return None if a == b else (path, _said(a), _said(b))


def _said(value: Any) -> str:
    if isinstance(value, dict) and "name" in value:
        return f"{value.get('kind')}:{value['name']}"
    return f"{len(value)} of them" if isinstance(value, list) else "not there" if value is None else repr(value)


def shares(weights: Sequence[float] | None, count: int, whole: bool = True) -> list[float]:
    """What each of so many models counts; `whole`: so that all of it is 1."""
    found = [1.0] * count if weights is None else [float(weight) for weight in weights]
    if len(found) != count:
        raise UsageError(f"weights={tuple(found)} are {len(found)}, and there are {count} models")
    if whole and not sum(found) > 0:
        raise UsageError(f"weights={tuple(found)} must have a sum above 0")
    return [weight / sum(found) for weight in found] if whole else found


def moved(models: Sequence[Tensors], base: Tensors) -> list[dict[str, Tensor]]:
    """Task vectors: by path how far each model is from the base."""
    return [{path: value - base[path] for path, value in model.items()} for model in models]
