"""What was attached to a projection and is a matrix itself is added to the projection's own: one product, as before.

    y = W x + (alpha / rank) B A x  ->  y = (W + (alpha / rank) B A) x

A product of thin matrices gets the others beside its own, and their ranks add up. What bends, or stands beside a whole
sublayer, is no matrix: it stays, and is refused where it is named.

Source   arXiv 2106.09685
Family   adapters
Differs  nothing known
"""

from collections.abc import Sequence
from typing import Annotated

import torch

from blockyard.core.batch import Batch
from blockyard.core.errors import UsageError
from blockyard.core.part import Part
from blockyard.core.settings import Patterns
from blockyard.model.attach import attachments, detach
from blockyard.model.lineage import Lineage, Origin
from blockyard.model.model import Model
from blockyard.model.save import stored
from blockyard.transform._attach import taken_off
from blockyard.transform._base import Applied, Transform


class Merge(Transform):
    after = "lora"

    def __init__(
        self, *,
        on: Annotated[Patterns, "patterns of paths of projections; none: all with something attached"] | None = None,
    ) -> None:  # fmt: skip
        self.on = on

    def plan(self, model: Model) -> dict[str, str]:
        return {path: f"merged {part.spec.name}" for path, part in self._taken(model).items()}

    @torch.no_grad()
    def apply(self, model: Model, data: Sequence[Batch] = ()) -> Applied:
        planned, made, lineage = self.plan(model), model, Lineage()
        todo = sorted(planned, key=lambda path: -path.count("."))  # of two around one projection the inner one first
        for path in todo:
            part = next(each for each in attachments(made) if each.path == path)
            made, step = detach(made, [part], {path: part.merged()})
            came = {name: step.get(name, Origin(name)).path for name in stored(made)}
            lineage = {name: lineage.get(before, Origin(before)) for name, before in came.items()}
        lineage = {name: origin for name, origin in lineage.items() if origin.path != name}
        left = tuple(part.path for part in attachments(model) if part.path not in planned)
        return Applied(made, planned, left, lineage=lineage)

    def _taken(self, model: Model) -> dict[str, Part]:
        """What is attached to projections; of named ones whatever is attached, and what is no matrix refuses."""
        found = taken_off(model, self.on or ("*",), "merge")
        if self.on is None:
            found = {path: part for path, part in found.items() if part.spec.kind == "linear"}
        if not found:
            raise UsageError("merge: what is attached to this model is attached to no projection; it can be detached")
        return found
