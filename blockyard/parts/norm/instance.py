"""Bring every row of numbers to mean 0 and deviation 1, by what it holds itself; this can be undone.

    offset = mean(x)        scale = sqrt(var(x) + eps)        y = (x - offset) / scale

Shapes   x, y (...,L)   offset, scale (...,1)
Source   Kim et al. 2022, Reversible instance normalization, ICLR    Family  norm
Differs  no gain and bias; gradients reach the statistics, which nothing that learns stands in front of
"""

from torch import Tensor

from blockyard.core import Scaling, Site
from blockyard.core.settings import Eps


class Instance(Scaling):
    unrecorded = "its scale is made by no instruction yet"
    claims = dict(per_token=True, row_independent=True, scale_invariant=True)

    def __init__(self, site: Site, *, eps: Eps = 1e-5) -> None:
        super().__init__()
        self.eps = eps

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        offset = x.mean(-1, keepdim=True)
        return offset, ((x - offset).square().mean(-1, keepdim=True) + self.eps).sqrt()
