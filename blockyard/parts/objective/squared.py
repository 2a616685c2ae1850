"""The squared error of the numbers that are asked.

    loss = sum (y - target)^2 / their number

Shapes   what the head says, targets (B,...); a target that is not a number is not asked
Source   none    Family  objective
Differs  nothing known
"""

from typing import Any

import torch
from torch import Tensor

from blockyard.core import Batch, Objective, Site


class Squared(Objective):
    learns = "values"
    around = dict(head=("values", {}))

    def __init__(self, site: Site) -> None:
        super().__init__()

    def example(self, model: Any, rows: int, length: int, draw: Any = None) -> Batch:
        batch = super().example(model, rows, length, draw)
        with torch.no_grad():
            like = _numbers(model, batch)
        return Batch(batch.tokens, torch.randn(like.shape, generator=draw, dtype=like.dtype))

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        assert batch.targets is not None
        return {"squared": batch.targets.isfinite().sum()}

    def forward(self, model: Any, batch: Batch) -> dict[str, tuple[Tensor, Tensor, float]]:
        """{term: (sum, count, weight)}."""
        assert batch.targets is not None
        said, asked = _numbers(model, batch).float(), batch.targets.isfinite()
        off = (said - batch.targets.nan_to_num()).masked_fill(~asked, 0)
        return {"squared": (off.square().sum(), asked.sum(), 1.0)}


def _numbers(model: Any, batch: Batch) -> Tensor:
    """What the head says under the name of numbers, or under its own."""
    said = model(batch).prediction
    return said["values"] if "values" in said else said[model.head.says]
