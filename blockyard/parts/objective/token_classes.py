"""Name the class of every token that is asked.

    loss = sum over asked tokens of -log softmax(s_t)[class_t]  /  their number

Shapes   token_classes (B,T,K)   targets (B,T), below 0 where nothing is asked
Source   arXiv 1810.04805    Family  objective
Differs  nothing known
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from blockyard.core import Batch, Objective, Site, upcast


class ClassOfToken(Objective):
    learns = "token classes"
    around = dict(head=("token_classes", {}))

    def __init__(self, site: Site) -> None:
        super().__init__()

    def example(self, model: Any, rows: int, length: int, draw: Any = None) -> Batch:
        batch = super().example(model, rows, length, draw)
        shape, classes = batch.tokens.shape[:2], model.head.classes.size
        return Batch(batch.tokens, torch.randint(0, classes, shape, generator=draw))

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        assert batch.targets is not None
        return {"token_classes": (batch.targets >= 0).sum()}

    def forward(self, model: Any, batch: Batch) -> dict[str, tuple[Tensor, Tensor, float]]:
        """{term: (sum, count, weight)}."""
        assert batch.targets is not None
        scores, asked = model(batch).prediction["token_classes"], batch.targets >= 0
        total = cross_entropy(upcast(scores[asked]), batch.targets[asked], reduction="sum")
        return {"token_classes": (total, asked.sum(), 1.0)}
