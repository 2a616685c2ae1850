"""Attention reads the last tokens and the first ones, at distances that it has learned: texts of any length follow.

    j is read by i    i - j < window or j < sinks,    as if it stood min(i - j, cap) behind

Nothing is learned anew: the numbers stay, and up to `window` tokens the model says what it said.

Source   arXiv 2308.16137    Slug  lm-infinite
Family   length
Differs  no tokens from the middle are looked up again
"""

from collections.abc import Collection, Sequence
from typing import Annotated, Any

from blockyard.core import registry
from blockyard.core.batch import Batch
from blockyard.core.errors import UsageError
from blockyard.core.settings import Count, Natural, Patterns
from blockyard.core.spec import Spec, pattern, position
from blockyard.model.model import Model
from blockyard.transform._base import Applied, Transform, matches
from blockyard.transform._refill import refilled


class LambdaShape(Transform):
    def __init__(
        self, *, window: Annotated[Count, "how many of the last tokens are read, the own one counted"] = 128,
        sinks: Annotated[Natural, "how many of the first tokens are always read"] = 4,
        cap: Annotated[Count, "the largest distance that is told from others; none: the window"] | None = None,
        on: Annotated[Patterns, "patterns of paths of attention, with * for any word"] = ("*",),
    ) -> None:  # fmt: skip
        self.window, self.sinks, self.cap, self.on = window, sinks, cap or window, on

    def plan(self, model: Model) -> dict[str, str]:
        return {part.path: f"the last {self.window} tokens and the first {self.sinks}" for part in self._where(model)}

    def apply(self, model: Model, data: Sequence[Batch] = ()) -> Applied:
        spec, planned = model.spec, self.plan(model)
        for part in self._where(model):
            new: dict[str, Any] = {"pattern": pattern("band", window=self.window, sinks=self.sinks)}
            if part.position is not None:
                new["position"] = position("capped", of=part.position.spec, cap=self.cap)
            spec = spec.at(part.path, **new)
        made, lineage, _ = refilled(model, spec, came=lambda name: _outside(name, planned))
        return Applied(made, planned, lineage=lineage)

    def _where(self, model: Model) -> list[Any]:
        every = [part for part in model.parts() if _has_slots(part.spec)]
        found = [part for part in every if matches(part.path, self.on)]
        if not found:
            known = ", ".join(part.path for part in every[:6]) or "none"
            raise UsageError(f"lambda_shape: no attention stands at {', '.join(self.on)}; among them are {known}")
        one = next((part for part in found if getattr(part.position, "cap", None) is not None), None)
        if one is not None:
            raise UsageError(f"lambda_shape: the distances of {one.path} are capped already")
        return found


def _has_slots(spec: Spec) -> bool:
    """Whether such a part asks a pattern who is read and a position how far that is."""
    return {"pattern", "position"} <= registry.find(spec.kind, spec.name).arguments.keys()


def _outside(name: str, attentions: Collection[str]) -> str:
    """The tensor of a position before another one was put around it."""
    path = next((path for path in attentions if name.startswith(f"{path}.position.of.")), None)
    return name if path is None else name.replace(f"{path}.position.of.", f"{path}.position.", 1)
