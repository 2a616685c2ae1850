"""Name the class of every row.

    loss = sum over rows of -log softmax(s)[class]  /  their number

Shapes   classes (B,K)   targets (B), below 0 where nothing is asked
Source   none    Family  objective
Differs  nothing known
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from blockyard.core import Batch, Objective, Site


class ClassOfRow(Objective):
    learns = "classes"
    around = dict(head=("classes", {}))

    def __init__(self, site: Site) -> None:
        super().__init__()

    def example(self, model: Any, rows: int, length: int, draw: Any = None) -> Batch:
        batch = super().example(model, rows, length, draw)
        return Batch(batch.tokens, torch.randint(0, model.head.classes.size, (rows,), generator=draw))

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        assert batch.targets is not None
        return {"classes": (batch.targets >= 0).sum()}

    def forward(self, model: Any, batch: Batch) -> dict[str, tuple[Tensor, Tensor, float]]:
        """{term: (sum, count, weight)}."""
        assert batch.targets is not None
        scores = model(batch).prediction["classes"].float()
        total = cross_entropy(scores, batch.targets, ignore_index=-1, reduction="sum")
        return {"classes": (total, (batch.targets >= 0).sum(), 1.0)}
