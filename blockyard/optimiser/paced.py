"""Another optimiser under which some parameters have a rate of their own.

    parameters that a pattern means: factor * rate        all others: others * rate

With a small factor they are slow, as attention is beside its decoder in theories of what a layer learns first. Of a
slower one as much is taken away in a step as of the others. Each side keeps its own state.

Source   arXiv 2305.16380    Slug  scan-and-snap
Family   optimisers
Differs  both rates follow the schedule of the run
"""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any

from torch import Tensor, nn, optim

from blockyard.core import registry
from blockyard.core.errors import UsageError, unknown
from blockyard.core.settings import NonNegative, OptimiserSpec, Patterns, Positive
from blockyard.core.spec import Spec
from blockyard.model.model import Model
from blockyard.optimiser._together import Together


def paced(
    model: Model, params: dict[str, nn.Parameter], *, lr: Annotated[Positive, "the rate of a step"] = 1e-3,
    decay: Annotated[NonNegative, "how much of a projection a step of rate 1 takes away"] = 0.1,
    of: Annotated[OptimiserSpec, "what makes the steps"] = Spec("optimiser", "adamw"),
    on: Annotated[Patterns, "the paths of the parameters that are meant, with * for any word"] = ("steps.*",),
    factor: Annotated[Positive, "their rate, in units of the run's"] = 0.1,
    others: Annotated[Positive, "the rate of all others, in units of the run's"] = 1.0,
) -> optim.Optimizer:  # fmt: skip
    """The optimiser of these parameters, by their paths in the model."""
    entry = registry.find("optimiser", of.name)
    if entry.constant("schedule"):
        raise UsageError(f"paced: optimiser:{of.name} sets its own rate; take another one, such as sgd or adamw")
    if not meant(params, on) and not meant(dict(model.named_parameters()), on):
        raise unknown("parameters with a rate of their own", ", ".join(on), dict(model.named_parameters()))
    made = []
    for side, pace in _sides(params, on, factor, others):
        own = entry.load_named()(model, side, **{**dict(of.settings), "lr": lr, "decay": decay / pace})
        for group in own.param_groups:
            group["factor"] = pace * group.get("factor", 1.0)
        made.append(own)
    return Together(*made)


def held(
    model: Model, params: Mapping[str, Tensor], *, of: Spec = Spec("optimiser", "adamw"),
    on: tuple[str, ...] = ("steps.*",), **_: Any,
) -> int:  # fmt: skip
    """Numbers that it keeps: what the inner one keeps of both sides."""
    count = getattr(registry.find("optimiser", of.name).load(), "held", None)
    if count is None:
        return 2 * sum(p.numel() for p in params.values())
    return sum(count(model, side, **dict(of.settings)) for side, _ in _sides(params, on, 1.0, 1.0))


def meant(params: Mapping[str, Any], on: tuple[str, ...]) -> set[str]:
    """The paths that any of these patterns means."""
    return {name for name in params if any(fnmatchcase(name, pattern) for pattern in on)}


def _sides(params: Mapping[str, Any], on: tuple[str, ...], factor: float, others: float) -> list[Any]:
    """The parameters of either side that there are, and the pace of each."""
    own = meant(params, on)
    sides = (
        ({name: p for name, p in params.items() if name in own}, factor),
        ({name: p for name, p in params.items() if name not in own}, others),
    )
    return [(side, pace) for side, pace in sides if side]
