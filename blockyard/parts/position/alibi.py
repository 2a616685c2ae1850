"""Lower a score in proportion to the distance, each head at its own slope.

    bias_h(d) = -m_h |d|        m_h = 2^(-8 h / H),  h = 1..H

Shapes   table (H, 2n-1)
Source   arXiv 2108.12409    Family  position
Differs  for H not a power of two the same geometric series is used, not the paper's interleaving
"""

import torch
from torch import Tensor

from blockyard.core import Position, Prod, Site


class Alibi(Position):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, bidirectional=True, any_order=True)

    def __init__(self, site: Site) -> None:
        super().__init__()
        *self.heads, _ = site.stream.leaves()
        for axis in self.heads:
            axis.ordered = True

    def by_distance(self, n: int) -> Tensor:
        count = Prod(*self.heads).size
        slopes = 2.0 ** (-8.0 * torch.arange(1, count + 1) / count)
        return -slopes[:, None] * (torch.arange(2 * n - 1) - (n - 1)).abs()
