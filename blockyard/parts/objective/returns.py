"""Say what each series of a row will gain, and in which order: the squared error, and what pairs in wrong order cost.

    loss = mean_i (y_i - r_i)^2 + weight * mean_ij relu(-(y_i - y_j) (r_i - r_j))        i, j of one row

The second term is zero where all are in order, and does not change if a number is added to every y of a row.

Shapes   what the head says, targets r (B,S); a target that is not a number is not asked
Source   arXiv 2506.16746    Slug  sspt    Family  series
Differs  nothing known
"""

from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core import Batch, Objective, Site, upcast
from blockyard.core.settings import NonNegative


class Returns(Objective):
    learns = "returns"
    around = dict(stem=("panel", {}), head=("panel_scores", {}))

    def __init__(self, site: Site, *, weight: Annotated[NonNegative, "what wrong order counts"] = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def example(self, model: Any, rows: int, length: int, draw: Any = None) -> Batch:
        batch = super().example(model, rows, length, draw)
        return Batch(batch.tokens, torch.randn(batch.tokens.shape[:2], generator=draw))

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        assert batch.targets is not None
        asked = batch.targets.isfinite()
        return {"squared": asked.sum(), "order": asked.sum(1).square().sum()}

    def forward(self, model: Any, batch: Batch) -> dict[str, tuple[Tensor, Tensor, float]]:
        """{term: (sum, count, weight)}."""
        assert batch.targets is not None
        said, asked = upcast(model(batch).prediction[model.head.says]), batch.targets.isfinite()
        off = (said - batch.targets.nan_to_num()).masked_fill(~asked, 0)
        count = self.counts(batch)
        wrong = disorder(said, batch.targets)
        return {
            "squared": (off.square().sum(), count["squared"], 1.0), "order": (wrong, count["order"], self.weight)
        }  # fmt: skip


def disorder(said: Tensor, returns: Tensor) -> Tensor:
    """() what all pairs (B,S,S) of the rows cost that are in wrong order."""
    asked = returns.isfinite()
    returns = returns.nan_to_num()
    apart = (said[:, :, None] - said[:, None]) * (returns[:, :, None] - returns[:, None])
    return (-apart).relu().masked_fill(~(asked[:, :, None] & asked[:, None]), 0).sum()
