"""Hiding tokens that are vectors of numbers: which ones, and what is asked of them."""

from dataclasses import replace

import torch
from torch import Tensor

from blockyard.core import Batch
from blockyard.core.part import Draws


def hidden(batch: Batch, shape: tuple[int, int], share: float, draw: Draws) -> Tensor:
    """(B,T) which tokens are hidden, of those that count: a share of each row, rounded, and one at least."""
    free = torch.ones(shape, dtype=torch.bool, device=batch.tokens.device) if batch.valid is None else batch.valid
    place = draw("hidden", shape).masked_fill(~free, 2).argsort(dim=1, stable=True).argsort(dim=1)
    return free & (place < (share * free.sum(1, keepdim=True)).round().clamp(min=1))


def asked(batch: Batch, cells: Tensor, where: Tensor, shown: Tensor) -> Batch:
    """The batch with `shown` as its tokens, and the numbers (B,T,K) of hidden tokens as its targets."""
    return replace(batch, tokens=shown, targets=cells.masked_fill(~where[..., None], torch.nan))
