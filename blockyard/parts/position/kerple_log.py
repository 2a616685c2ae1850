"""Lower a score with the logarithm of the distance, each head as far and as soon as it learns.

    bias_h(d) = -a_h log(1 + b_h |d|)        a_h, b_h > 0

Shapes   a, b (H)   table (H, 2n-1)
Source   arXiv 2205.09921    Family  position
Differs  logarithms of a and b are learned, so that both stay above 0 (paper: they are clamped)
"""

import torch
from torch import Tensor

from blockyard.core import Position, Prod, Site, upcast
from blockyard.parts.position._kernel import log_uniform


class KerpleLog(Position):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, bidirectional=True, any_order=True)

    def __init__(self, site: Site) -> None:
        super().__init__()
        *outer, _ = site.stream.leaves()
        self.log_a = site.param("log_a", (Prod(*outer),), log_uniform(2.0))
        self.log_b = site.param("log_b", (Prod(*outer),), log_uniform(1.0))

    def by_distance(self, n: int) -> Tensor:
        apart = (torch.arange(2 * n - 1, device=self.log_a.device) - (n - 1)).abs()
        return -upcast(self.log_a).exp()[:, None] * torch.log1p(upcast(self.log_b).exp()[:, None] * apart)
