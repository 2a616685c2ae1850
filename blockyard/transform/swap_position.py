"""Positions become other ones, or none; everything that was learned stays.

    y = attention(x; position P)  ->  y = attention(x; position Q)

What Q learns itself is new, but where Q is P with other settings: what fits is kept. Between schemes with a limit in
common (rope and all that stretches it) the new model reads short rows as the old one did.

Source   none
Family   positions
Differs  nothing known
"""

from collections.abc import Sequence
from typing import Annotated

from blockyard.core import registry
from blockyard.core.batch import Batch
from blockyard.core.errors import UsageError
from blockyard.core.settings import Natural, Patterns, PositionSpec
from blockyard.core.spec import Spec
from blockyard.model.model import Model
from blockyard.model.save import stored
from blockyard.transform._attach import outermost
from blockyard.transform._base import Applied, Transform, matches
from blockyard.transform._refill import exchanged, refilled


class SwapPosition(Transform):
    example = dict(position=None)

    def __init__(
        self, *, position: Annotated[PositionSpec, "what stands there instead; none: no positions"] | None,
        on: Annotated[Patterns, "patterns of paths of the positions that go, with * for any word"] = ("steps.*",),
        seed: Annotated[Natural, "of the first numbers of what is new"] = 0,
    ) -> None:  # fmt: skip
        self.position, self.on, self.seed = position, on, seed
        self.words = "no positions" if position is None else f"position:{position.name}"

    def plan(self, model: Model) -> dict[str, str]:
        return dict.fromkeys(self._where(model)[0], self.words)

    def apply(self, model: Model, data: Sequence[Batch] = ()) -> Applied:
        where, left = self._where(model)
        made, lineage, new = refilled(model, exchanged(model, dict.fromkeys(where, self.position)), self.seed)
        held = stored(made)
        report = {"new": sum(held[name].numel() for name in new)}
        return Applied(made, self.plan(model), left, report, lineage)

    def _where(self, model: Model) -> tuple[dict[str, Spec], tuple[str, ...]]:
        """The positions that go, by path, and the paths of those that stay."""
        every = outermost([part for part in model.parts() if part.spec.kind == "position"])
        found = {part.path: part.spec for part in every if matches(part.path, self.on)}
        if not found:
            known = ", ".join(part.path for part in every) or "none"
            raise UsageError(f"swap_position: no position stands at {', '.join(self.on)}; there are {known}")
        for path, spec in found.items():
            if self.position is not None and _at_input(spec) != _at_input(self.position):
                where = "what enters" if _at_input(spec) else "queries and keys"
                raise UsageError(f"swap_position: {path} acts on {where}, {self.words} does not")
        return found, tuple(part.path for part in every if part.path not in found)


def _at_input(spec: Spec) -> bool:
    """Whether positions are added to the stem's output."""
    return "at_input" in vars(registry.find("position", spec.name).load_named())
