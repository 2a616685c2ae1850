"""What a phase trains, and the schedules of the rate.

A schedule rises by where a step ends and falls by where it begins: however short a run is, one of its steps has the
whole rate, and none has a rate of zero.
"""

import math
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

from torch import nn

from blockyard.core import registry
from blockyard.core.errors import UsageError, unknown
from blockyard.core.spec import Spec
from blockyard.model.attach import attached
from blockyard.model.model import Model
from blockyard.model.save import stored

Schedule = Callable[[float, float], float]  # of the shares of the run that lie before a step and up to its end


def _rise(after: float, warmup: float) -> float:
    """Up in a line: the end of a step counts, so that the first one moves."""
    return after / warmup if after < warmup else 1.0


def cosine(warmup: float = 0.1, final: float = 0.1) -> Schedule:
    """The factor of the rate of a step: up in a line, then down a half cosine to `final` at the end of the run."""

    def factor(before: float, after: float) -> float:
        fallen = max(0.0, before - warmup) / (1 - warmup)
        return min(_rise(after, warmup), final + (1 - final) * 0.5 * (1 + math.cos(math.pi * fallen)))

    return factor


def warmup_stable_decay(warmup: float = 0.1, decay: float = 0.2, final: float = 0.0) -> Schedule:
    """Up in a line, constant, then down in a line over the last part: to `final` where the run ends, after no step."""

    def factor(before: float, after: float) -> float:
        return min(_rise(after, warmup), final + (1 - final) * min(1.0, (1 - before) / decay))

    return factor


def linear(warmup: float = 0.1, final: float = 0.0) -> Schedule:
    """Up in a line, then down in a line: to `final` where the run ends, after no step."""
    return warmup_stable_decay(warmup, 1 - warmup, final)


def constant(warmup: float = 0.1) -> Schedule:
    """Up in a line, then the whole rate."""
    return lambda before, after: _rise(after, warmup)


SCHEDULES: dict[str, Callable[[], Schedule]] = {
    "cosine": cosine, "wsd": warmup_stable_decay, "linear": linear, "constant": constant,
}  # fmt: skip


def own_schedule(system: Spec, optimiser: str) -> str | None:
    """The schedule that a system names, or else its optimiser's file (`schedule`); None: that of the run."""
    return system.get("schedule") or registry.find("optimiser", optimiser).constant("schedule")


def schedule(name: str) -> Schedule:
    """A schedule of the learning rate by name: cosine, wsd, linear or constant."""
    if name not in SCHEDULES:
        raise unknown("schedule", name, SCHEDULES)
    return SCHEDULES[name]()


Trains = str | tuple[str, ...]  # the `train` of a phase
ATTACHED = "attached"  # in place of a pattern: all that was attached to the model


def learned(model: Model, train: Trains = "*") -> set[str]:
    """The paths of the parameters and buffers of the model that a phase trains: those that any of its words mean."""
    found, held = set[str](), stored(model)
    for word in (train,) if isinstance(train, str) else train:
        mine = attached(model) if word == ATTACHED else [name for name in held if fnmatchcase(name, word)]
        if word == ATTACHED and not mine:
            raise UsageError("nothing is attached to the model that this phase trains: apply=(transform(...),) does it")
        if not any(isinstance(held[name], nn.Parameter) for name in mine):
            raise unknown("parameters to train", word, dict(model.named_parameters()))
        found.update(mine)
    return found


def frozen(model: Model, train: Trains = "*") -> set[str]:
    """The paths of the parts whose numbers a phase leaves as they are: what they observe changes nothing."""
    owners = {name.rpartition(".")[0] for name in stored(model)}
    return owners - {name.rpartition(".")[0] for name in learned(model, train)}


def trained(
    model: Model, objective: nn.Module, train: Trains = "*", also: Sequence[nn.Module] = ()
) -> dict[str, nn.Parameter]:
    """The parameters that a phase trains, by path: those of the model that are meant, and all of its objectives'."""
    names = learned(model, train)
    own = {name: p for name, p in model.named_parameters() if name in names}
    for place, each in enumerate((objective, *also)):
        called = f"objective+{place}" if place else "objective"
        own |= {f"{called}.{name}": p for name, p in each.named_parameters() if p.requires_grad}
    return own
