"""What was attached to a model is taken off again: the backbone is left, to the bit.

    y = F(x) + B(x)  ->  y = F(x)        B whatever was attached

Source   none
Family   adapters
Differs  nothing known
"""

from collections.abc import Sequence
from typing import Annotated

from blockyard.core.batch import Batch
from blockyard.core.settings import Patterns
from blockyard.model.attach import attachments, detach
from blockyard.model.model import Model
from blockyard.transform._attach import taken_off
from blockyard.transform._base import Applied, Transform


class Detach(Transform):
    after = "lora"

    def __init__(
        self, *, on: Annotated[Patterns, "patterns of paths of what it was attached to, with * for any word"] = ("*",)
    ) -> None:
        self.on = on

    def plan(self, model: Model) -> dict[str, str]:
        return {path: f"less {part.spec.name}" for path, part in taken_off(model, self.on, "detach").items()}

    def apply(self, model: Model, data: Sequence[Batch] = ()) -> Applied:
        taken = taken_off(model, self.on, "detach")
        made, lineage = detach(model, list(taken.values()))
        left = tuple(part.path for part in attachments(model) if part.path not in taken)
        return Applied(made, self.plan(model), left, lineage=lineage)
