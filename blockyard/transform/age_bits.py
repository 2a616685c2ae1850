"""Attention of a trained model reads and keeps what is older in fewer bits; what was learned stays.

    at a distance of at least ages[i] keys and values are those of bits[i] bits, below ages[0] as they are

Up to ages[0] tokens the model says what it said.

Source   arXiv 2410.18441    Slug  generative-math-modeling
Family   quantisers
Differs  a reading of its proposal: see pattern:age_bits
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from blockyard.core import registry
from blockyard.core.batch import Batch
from blockyard.core.errors import UsageError
from blockyard.core.settings import Count, Patterns
from blockyard.core.spec import Spec, pattern
from blockyard.model.model import Model
from blockyard.transform._base import Applied, Transform, matches
from blockyard.transform._refill import refilled


class AgeBits(Transform):
    example = dict(ages=(4, 8), bits=(8, 4))

    def __init__(
        self, *,
        ages: Annotated[tuple[Count, ...], "ages in tokens from which on there are fewer bits, rising"]
        = (64, 256, 1024),
        bits: Annotated[tuple[Literal[2, 4, 8], ...], "bits a number from each age on, falling"] = (8, 4, 2),
        on: Annotated[Patterns, "patterns of paths of attention, with * for any word"] = ("*",),
    ) -> None:  # fmt: skip
        self.pattern, self.on = pattern("age_bits", ages=tuple(ages), bits=tuple(bits)), on
        self.words = ", ".join(f"{few} bits from {age} tokens on" for age, few in zip(ages, bits))

    def plan(self, model: Model) -> dict[str, str]:
        return {part.path: self.words for part in self._where(model)}

    def apply(self, model: Model, data: Sequence[Batch] = ()) -> Applied:
        spec, planned = model.spec, self.plan(model)
        for path in planned:
            spec = spec.at(path, pattern=self.pattern)
        made, lineage, _ = refilled(model, spec)
        return Applied(made, planned, lineage=lineage)

    def _where(self, model: Model) -> list[Any]:
        every: list[Any] = [part for part in model.parts() if _has_slot(part.spec)]
        found = [part for part in every if matches(part.path, self.on)]
        if not found:
            known = ", ".join(part.path for part in every[:6]) or "none"
            raise UsageError(f"age_bits: no attention stands at {', '.join(self.on)}; among them are {known}")
        one = next((part for part in found if part.pattern is not None), None)
        if one is not None:
            raise UsageError(f"age_bits: {one.path} has a pattern already, {one.pattern.spec.name}; name others in on=")
        return found


def _has_slot(spec: Spec) -> bool:
    """Whether such a part asks a pattern who is read."""
    setting = registry.find(spec.kind, spec.name).settings.get("pattern")
    return setting is not None and setting.slot == "pattern"
