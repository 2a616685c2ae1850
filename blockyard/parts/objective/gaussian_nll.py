"""How unlikely numbers are under the mean and the variance that are said of them.

    loss = sum 1/2 (log variance + (y - mean)^2 / variance) / their number        the constant log(2 pi) / 2 left out

Shapes   mean, variance, targets (B,...); a target that is not a number is not asked
Source   arXiv 2405.15115    Slug  icl-uncertainty    Family  objective
Differs  nothing known
"""

from typing import Any

import torch
from torch import Tensor

from blockyard.core import Batch, Objective, Site, UsageError


class GaussianNLL(Objective):
    learns = "gaussian"
    around = dict(head=("gaussian", {}))

    def __init__(self, site: Site) -> None:
        super().__init__()

    def example(self, model: Any, rows: int, length: int, draw: Any = None) -> Batch:
        batch = super().example(model, rows, length, draw)
        with torch.no_grad():
            like, _ = _said(model, batch)
        return Batch(batch.tokens, torch.randn(like.shape, generator=draw, dtype=like.dtype))

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        assert batch.targets is not None
        return {"gaussian_nll": batch.targets.isfinite().sum()}

    def forward(self, model: Any, batch: Batch) -> dict[str, tuple[Tensor, Tensor, float]]:
        """{term: (sum, count, weight)}."""
        assert batch.targets is not None
        mean, variance = (each.float() for each in _said(model, batch))
        asked = batch.targets.isfinite()
        nats = 0.5 * (variance.log() + (batch.targets.nan_to_num() - mean).square() / variance)
        return {"gaussian_nll": (nats.masked_fill(~asked, 0).sum(), asked.sum(), 1.0)}


def _said(model: Any, batch: Batch) -> tuple[Tensor, Tensor]:
    said = model(batch).prediction
    if "variance" not in said:
        raise UsageError(f"objective:gaussian_nll: head:{model.head.spec.name} says no variance; take head:gaussian")
    return said["mean"], said["variance"]
