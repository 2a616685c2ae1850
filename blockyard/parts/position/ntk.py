"""Rotary positions of a larger base: the slowest pair turns slower by a factor, the fastest as fast as before.

    (x_i, x_{i+K/2}) <- rotation by p * b^(-2i/K)        b = base * factor^(K/(K-2)),  i < K/2

Shapes   q (B,T,H,K)   k (B,T,G,K)   tables cos, sin (B or 1,T,1,K/2), made once a forward
Source   arXiv 2309.00071    Family  position
Differs  nothing known
"""

from torch import Tensor

from blockyard.core import Call, Site
from blockyard.core.settings import Base, Longer
from blockyard.parts.position._rope import Rotary


class Ntk(Rotary):
    claims = dict(
        causal=True, streams=True, packs=True, row_independent=True, bidirectional=True, any_order=True, fixed=True
    )  # fmt: skip

    def __init__(self, site: Site, *, factor: Longer = 4.0, base: Base = 10000.0) -> None:
        super().__init__(site, base)
        self.factor = factor

    def speeds(self, call: Call) -> Tensor:
        return super().speeds(call) * self.factor ** -self.reach(call.positions.device)
