"""Keep the parameters near to what they were when the phase began: a term beside another objective.

    loss = weight / 2 * sum over parameters that train of (w - w0)^2

Shapes   none
Source   arXiv 1802.01483    Family  adapt
Differs  one weight for all: a new head is held to its first numbers, not to zero
"""

from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core import Batch, Objective, Site, UsageError, upcast
from blockyard.core.settings import NonNegative
from blockyard.parts.objective._teacher import Teacher


class L2Sp(Objective):
    learns = "parameters"

    def __init__(self, site: Site, *, weight: Annotated[NonNegative, "what the term is multiplied by"] = 0.01) -> None:
        super().__init__()
        self.weight = weight
        self.start: Teacher | None = None

    def adopt(self, model: Any, before: Any) -> None:
        """The numbers that the phase begins with."""
        self.start = Teacher(model)

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"l2_sp": batch.tokens.new_tensor(len(batch.tokens))}

    def forward(self, model: Any, batch: Batch) -> dict[str, tuple[Tensor, Tensor, float]]:
        """{term: (sum, count, weight)}; each row brings the whole distance, so that pieces of a batch add up."""
        assert self.start is not None
        first, now = dict(self.start.model.named_parameters()), dict(model.named_parameters())
        if [(name, p.shape) for name, p in first.items()] != [(name, p.shape) for name, p in now.items()]:
            raise UsageError("objective:l2_sp cannot hold a model that was transformed since: give that phase its own")
        held = [upcast(p - first[name]).square().sum() for name, p in now.items() if p.requires_grad]
        rows = self.counts(batch)["l2_sp"]
        return {"l2_sp": (rows * torch.stack(held).sum() / 2, rows, self.weight)}
