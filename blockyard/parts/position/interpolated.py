"""Rotary positions that are divided by a factor, so that longer rows get no angle that training has not seen.

    (x_i, x_{i+K/2}) <- rotation by p / factor * base^(-2i/K)        i < K/2

Shapes   q (B,T,H,K)   k (B,T,G,K)   tables cos, sin (B or 1,T,1,K/2), made once a forward
Source   arXiv 2306.15595    Family  position
Differs  nothing known
"""

from torch import Tensor

from blockyard.core import Call, Site
from blockyard.core.settings import Base, Longer
from blockyard.parts.position._rope import Rotary


class Interpolated(Rotary):
    claims = dict(
        causal=True, streams=True, packs=True, row_independent=True, bidirectional=True, any_order=True, fixed=True
    )  # fmt: skip

    def __init__(self, site: Site, *, factor: Longer = 4.0, base: Base = 10000.0) -> None:
        super().__init__(site, base)
        self.factor = factor

    def speeds(self, call: Call) -> Tensor:
        return super().speeds(call) / self.factor
