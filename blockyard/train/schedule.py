"""Which parameters a phase trains, and the schedules of the rate.

A schedule rises by where a step ends and falls by where it begins: however short a run is, one of its steps has the
whole rate, and none has a rate of zero.
"""

import math
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

from torch import nn

from blockyard.core.errors import unknown
from blockyard.model.model import Model

Trains = dict[str, nn.Parameter]
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


SCHEDULES: dict[str, Callable[[], Schedule]] = {"cosine": cosine, "wsd": warmup_stable_decay}


def schedule(name: str) -> Schedule:
    """A schedule of the learning rate by name: cosine or wsd."""
    if name not in SCHEDULES:
        raise unknown("schedule", name, SCHEDULES)
    return SCHEDULES[name]()


def trained(model: Model, objective: nn.Module, pattern: str = "*", also: Sequence[nn.Module] = ()) -> Trains:
    """The parameters that a phase trains, by path: those of the model that match, and all of its objectives'."""
    own = {name: p for name, p in model.named_parameters() if fnmatchcase(name, pattern)}
    if not own:
        raise unknown("parameters to train", pattern, dict(model.named_parameters()))
    for place, each in enumerate((objective, *also)):
        called = f"objective+{place}" if place else "objective"
        own |= {f"{called}.{name}": p for name, p in each.named_parameters() if p.requires_grad}
    return own
