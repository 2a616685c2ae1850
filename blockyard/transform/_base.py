"""A transform: a model becomes another one, and says what of it has changed.

    made = make_transform("quantise:bits=4")
    made.plan(model)              {path: what will become of it}, before a number is looked at
    made.apply(model, data)       Applied: the other model, what was covered and what was left, figures of its own

The model that it is given stays as it is, and the spec of the result rebuilds it. On the meta device a transform makes
the outline of its result: the same shapes, no numbers.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, ClassVar

from blockyard.core import registry
from blockyard.core.batch import Batch
from blockyard.core.errors import UsageError
from blockyard.core.spec import Spec
from blockyard.model.lineage import Lineage
from blockyard.model.model import Model
from blockyard.systems import parse_transform


@dataclass(frozen=True, eq=False)
class Applied:
    """What a transform made.

    model     the other model        covered   what became of it, by path        left   paths of what it passed over
    report    figures of its own: words and numbers by name
    lineage   where the tensors came from, so that what belongs to them (moments, gradients) can follow
    """

    model: Model
    covered: Mapping[str, str]
    left: tuple[str, ...] = ()
    report: Mapping[str, Any] = field(default_factory=dict)
    lineage: Lineage = field(default_factory=dict)


Learn = Callable[[Model, int, float], Model]  # a model, more tokens, a share of its peak rate -> what comes of training


class Transform(ABC):
    """The base of all transforms; the keyword-only arguments of the constructor are its settings.

    shown     whether it is shown data: batches of what the model was trained on
    trained   how many tokens it trains the model for; 0: it does not train
    learn     how it trains then: whoever has data, a rate and the time for it says so before `apply`
    settles   whether its numbers lie where training would move them away from: on a grid, or packed
    after     a transform that a model must have gone through before; empty: none
    base      a recipe whose models it is for, where it is not for most
    """

    trained: int = 0
    learn: Learn | None = None
    shown: ClassVar[bool] = False
    settles: ClassVar[bool] = False
    after: ClassVar[str] = ""
    base: ClassVar[str] = "llama"

    @abstractmethod
    def plan(self, model: Model) -> dict[str, str]:
        """What will become of which part, or axis, by path. UsageError where the model lacks what this needs."""

    @abstractmethod
    def apply(self, model: Model, data: Sequence[Batch] = ()) -> Applied:
        """The other model; `data` are batches, of which one that is shown none may ask for none."""


def make_transform(what: str | Spec) -> Transform:
    """The transform of `NAME:key=value,...` or of its spec."""
    spec = parse_transform(what) if isinstance(what, str) else what
    made = registry.find("transform", spec.name).load_named()(**dict(spec.settings))
    assert isinstance(made, Transform)
    return made


def chain(steps: Sequence[str | Spec]) -> list[Transform]:
    """The transforms of steps in order; one that would undo an earlier one is refused."""
    made, settled = [], ""
    for step in steps:
        transform, name = make_transform(step), step.partition(":")[0] if isinstance(step, str) else step.name
        if transform.trained and settled:
            raise UsageError(
                f"{name} trains, and would move the numbers from where {settled} put them: let it go first"
            )
        settled = name if transform.settles else settled
        made.append(transform)
    return made


def matches(path: str, patterns: Sequence[str]) -> bool:
    """Whether a path is meant by any of these patterns."""
    return any(fnmatchcase(path, pattern) for pattern in patterns)


def check_patterns(model: Model, patterns: Sequence[str], among: Sequence[str]) -> None:
    """Refuse a pattern that means no part of the model; `among`: paths to name then."""
    for pattern in patterns:
        if not any(matches(part.path, (pattern,)) for part in model.parts()):
            raise UsageError(f"no part's path matches {pattern!r}; among them are {', '.join(among[:6])}")


def batches(data: Sequence[Batch], asker: str) -> Sequence[Batch]:
    """The data, or an error that says who needs some."""
    if not data:
        raise UsageError(f"{asker} is fitted to data: give some text (--data), or batches")
    return data
