"""Attention reads the last tokens and the first ones, at distances that it has learned: texts of any length follow.

    j is read by i    i - j < window or j < sinks,    as if it stood min(i - j, cap) behind

Nothing is learned anew: the numbers stay, and up to `window` tokens the model says what it said.

Source   arXiv 2308.16137    Slug  lm-infinite
Family   length
Differs  no tokens from the middle are looked up again
"""

from collections.abc import Sequence
from typing import Annotated, Any

import torch

from blockyard.core.batch import Batch
from blockyard.core.errors import UsageError
from blockyard.core.settings import Count, Natural, Patterns
from blockyard.core.spec import pattern, position
from blockyard.model.lineage import Lineage, Origin
from blockyard.model.model import Model, build
from blockyard.model.save import fill, stored
from blockyard.transform._base import Applied, Transform, matches


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

    @torch.no_grad()
    def apply(self, model: Model, data: Sequence[Batch] = ()) -> Applied:
        spec, planned = model.spec, self.plan(model)
        for part in self._where(model):
            new: dict[str, Any] = {"pattern": pattern("band", window=self.window, sinks=self.sinks)}
            if part.position is not None:
                new["position"] = position("capped", of=part.position.spec, cap=self.cap)
            spec = spec.at(part.path, **new)
        with torch.device("meta"):
            made = build(spec)
        held, lineage = stored(model), Lineage()
        for name in stored(made):
            before = next((_outside(name, path) for path in planned if name.startswith(f"{path}.position.of.")), name)
            if before != name:
                lineage[name] = Origin(before)
        tensors = {name: held[lineage[name].path if name in lineage else name].clone() for name in stored(made)}
        return Applied(fill(made, tensors, next(model.parameters()).device), planned, lineage=lineage)

    def _where(self, model: Model) -> list[Any]:
        every = [part for part in model.parts() if (part.spec.kind, part.spec.name) == ("mixer", "attention")]
        found = [part for part in every if matches(part.path, self.on)]
        if not found:
            known = ", ".join(part.path for part in every[:6]) or "none"
            raise UsageError(f"lambda_shape: no attention stands at {', '.join(self.on)}; among them are {known}")
        one = next((part for part in found if getattr(part.position, "cap", None) is not None), None)
        if one is not None:
            raise UsageError(f"lambda_shape: the distances of {one.path} are capped already")
        return found


def _outside(name: str, path: str) -> str:
    """The tensor of a position before another one was put around it."""
    return name.replace(f"{path}.position.of.", f"{path}.position.", 1)
