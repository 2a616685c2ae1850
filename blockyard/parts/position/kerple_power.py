"""Lower a score with a power of the distance, each head as much and as steeply as it learns.

    bias_h(d) = -a_h |d|^{b_h}        a_h > 0,  0 < b_h < 2

Shapes   a, b (H)   table (H, 2n-1)
Source   arXiv 2205.09921    Family  position
Differs  the logarithm of a and the logit of b/2 are learned, so that both keep to their ranges (paper: clamped)
"""

import torch
from torch import Tensor

from blockyard.core import Position, Prod, Site, upcast
from blockyard.parts.position._kernel import log_uniform, logit_uniform


class KerplePower(Position):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, bidirectional=True, any_order=True)

    def __init__(self, site: Site) -> None:
        super().__init__()
        *outer, _ = site.stream.leaves()
        self.log_a = site.param("log_a", (Prod(*outer),), log_uniform(1.0))
        self.logit_b = site.param("logit_b", (Prod(*outer),), logit_uniform)

    def by_distance(self, n: int) -> Tensor:
        apart = (torch.arange(2 * n - 1, device=self.log_a.device) - (n - 1)).abs()
        power = 2 * upcast(self.logit_b).sigmoid()[:, None]
        return -upcast(self.log_a).exp()[:, None] * torch.where(apart > 0, apart.clamp(min=1) ** power, 0)
