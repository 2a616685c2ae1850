"""The squared error of every segment of a window as foretold from those before it, and of the one behind the window.

    loss = sum over segments k = 1..n and their steps of (f_{k-1} - x_k)^2  /  their number        x_n: the targets

Shapes   segments (B, n S, K), tokens (B,L,C), targets (B,S,K); a target that is not a number is not asked
Source   arXiv 2402.16516    Slug  gpht    Family  objective
Differs  cells of the window that were empty are asked for as they are shown, filled
"""

from typing import Any

import torch
from torch import Tensor

from blockyard.core import Batch, Objective, Site, UsageError


class NextSegment(Objective):
    learns = "values"
    around = dict(stem=("series_segments", dict(length=24, horizon=6)), head=("next_segments", {}))

    def __init__(self, site: Site) -> None:
        super().__init__()

    def example(self, model: Any, rows: int, length: int, draw: Any = None) -> Batch:
        batch = super().example(model, rows, length, draw)
        with torch.no_grad():
            like = _segments(model, batch)["forecast"]
        return Batch(batch.tokens, torch.randn(like.shape, generator=draw, dtype=like.dtype))

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"segments": _truth(batch).isfinite().sum()}

    def forward(self, model: Any, batch: Batch) -> dict[str, tuple[Tensor, Tensor, float]]:
        """{term: (sum, count, weight)}."""
        said, truth = _segments(model, batch)["segments"].float(), _truth(batch)
        asked = truth.isfinite()
        off = (said - truth.nan_to_num()).masked_fill(~asked, 0)
        return {"segments": (off.square().sum(), asked.sum(), 1.0)}


def _truth(batch: Batch) -> Tensor:
    """(B, n S, K) what the tokens of the last n whole segments of a window are to say."""
    assert batch.targets is not None
    size, outputs = batch.targets.shape[1:]
    begin = batch.tokens.shape[1] % size + size
    return torch.cat([batch.tokens[:, begin:, :outputs].to(batch.targets.dtype), batch.targets], 1)


def _segments(model: Any, batch: Batch) -> dict[str, Tensor]:
    said = model(batch).prediction
    if "segments" not in said:
        raise UsageError(
            f"objective:next_segment: head:{model.head.spec.name} says no segments; take head=next_segments, or "
            f"objective=squared"
        )
    return said
