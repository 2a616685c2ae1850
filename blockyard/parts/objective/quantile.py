"""The pinball loss of the quantiles that a head says, each at its level.

    loss = sum over asked numbers of mean over levels q of max(q e, (q - 1) e)  /  their number        e = y - f_q

It is least where the share q of what may come lies below f_q. Levels are the head's. Quantiles of one number may cross.

Shapes   quantiles (B,H,K,Q), targets (B,H,K); a target that is not a number is not asked
Source   arXiv 1711.11053    Family  objective
Differs  the mean over levels in place of their sum
"""

from typing import Any

import torch
from torch import Tensor

from blockyard.core import Batch, Objective, Site, UsageError


class Quantile(Objective):
    learns = "quantiles"
    around = dict(stem=("series_patches", {}), head=("steps_ahead", dict(levels=(0.1, 0.5, 0.9))))

    def __init__(self, site: Site) -> None:
        super().__init__()

    def example(self, model: Any, rows: int, length: int, draw: Any = None) -> Batch:
        batch = super().example(model, rows, length, draw)
        with torch.no_grad():
            like = _quantiles(model, batch)[..., 0]
        return Batch(batch.tokens, torch.randn(like.shape, generator=draw, dtype=like.dtype))

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        assert batch.targets is not None
        return {"quantile": batch.targets.isfinite().sum()}

    def forward(self, model: Any, batch: Batch) -> dict[str, tuple[Tensor, Tensor, float]]:
        """{term: (sum, count, weight)}."""
        assert batch.targets is not None
        said, asked = _quantiles(model, batch).float(), batch.targets.isfinite()
        off = (batch.targets.nan_to_num()[..., None] - said).masked_fill(~asked[..., None], 0)
        level = off.new_tensor(model.head.levels)
        return {"quantile": (torch.maximum(level * off, (level - 1) * off).mean(-1).sum(), asked.sum(), 1.0)}


def _quantiles(model: Any, batch: Batch) -> Tensor:
    """(B,H,K,Q) what the head says of each level."""
    said = model(batch).prediction
    if "quantiles" not in said:
        raise UsageError(
            f"objective:quantile: head:{model.head.spec.name} says no quantiles; give it levels, such as "
            f"head.levels=(0.1,0.5,0.9)"
        )
    return said["quantiles"]
