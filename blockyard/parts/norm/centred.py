"""Bring every row of numbers to mean 0, by what it holds itself; this can be undone.

    offset = mean(x)        scale = 1        y = x - mean(x)

Shapes   x, y (...,L)   offset, scale (...,1)
Source   none    Family  norm
Differs  nothing known
"""

import torch
from torch import Tensor

from blockyard.core import Scaling, Site


class Centred(Scaling):
    unrecorded = "a mean over channels alone is no instruction yet"
    claims = dict(per_token=True, row_independent=True)

    def __init__(self, site: Site) -> None:
        super().__init__()

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        offset = x.mean(-1, keepdim=True)
        return offset, torch.ones_like(offset)
