"""Count every row of numbers from its last one; this can be undone.

    offset = x_L        scale = 1        y = x - x_L

Shapes   x, y (...,L)   offset, scale (...,1)
Source   arXiv 2205.13504    Slug  ltsf-linear    Family  norm
Differs  nothing known
"""

import torch
from torch import Tensor

from blockyard.core import Scaling, Site


class FromLast(Scaling):
    unrecorded = "one channel of many is no instruction yet"
    claims = dict(per_token=True, row_independent=True)

    def __init__(self, site: Site) -> None:
        super().__init__()

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        offset = x[..., -1:]
        return offset, torch.ones_like(offset)
