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

import torch
from torch import Tensor

from blockyard.core import registry
from blockyard.core.batch import Batch
from blockyard.core.errors import UsageError
from blockyard.core.settings import Natural, Patterns, PositionSpec
from blockyard.core.spec import Spec
from blockyard.model.lineage import Lineage, Origin
from blockyard.model.model import Model, build
from blockyard.model.save import fill, stored
from blockyard.transform._attach import outermost
from blockyard.transform._base import Applied, Transform, matches


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
        edits = [edit for edit in model.spec.get("edits", ()) if edit.name not in where]
        for path in where:
            owner, _, slot = path.rpartition(".")
            edits.append(
                Spec.of("edit", owner, {slot: None})
                if self.position is None
                else Spec.of("edit", path, {"spec": self.position})
            )
        first = next(model.parameters())
        with torch.device("meta" if first.is_meta else "cpu"):
            made = build(model.spec.but(edits=tuple(edits)), self.seed)
        tensors, lineage, before = dict[str, Tensor](), Lineage(), stored(model)
        for name, fresh in stored(made).items():
            old = next((spec for path, spec in where.items() if name.startswith(f"{path}.")), None)
            again = old is None or (self.position is not None and old.name == self.position.name)
            if again and name in before and before[name].shape == fresh.shape:
                tensors[name] = before[name].detach().clone()
            else:
                tensors[name] = fresh.detach().to(first.dtype) if fresh.is_floating_point() else fresh.detach()
                lineage[name] = Origin("")  # what another scheme had under this name is no origin
        new = sum(tensors[name].numel() for name in lineage)
        return Applied(fill(made, tensors, first.device), self.plan(model), left, {"new": new}, lineage)

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
