"""Lower a score with the logarithm of the distance, each head at its own slope.

    bias_h(d) = -h/H log(1 + |d|),  h = 1..H

Shapes   table (H, 2n-1)
Source   none    Family  position
Differs  nothing known
"""

import torch
from torch import Tensor

from blockyard.core import Position, Prod, Site


class MyPosition(Position):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, bidirectional=True, any_order=True)

    def __init__(self, site: Site) -> None:
        super().__init__()
        *self.heads, _ = site.stream.leaves()  # of attention's queries: heads, then channels of a head
        for axis in self.heads:
            axis.ordered = True  # head h has slope h/H: who narrows this axis must know

    # `at_input` would add to the stem's output, `at_qk` rotate queries and keys; what is not needed is left out.

    def by_distance(self, n: int) -> Tensor:
        count = Prod(*self.heads).size
        slopes = torch.arange(1, count + 1) / count
        return -slopes[:, None] * (torch.arange(2 * n - 1) - (n - 1)).abs().log1p()
