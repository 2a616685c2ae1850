"""Rotate queries and keys by angles that grow with their position, so that their product knows the distance.

    (x_i, x_{i+K/2}) <- rotation by p * base^(-2i/K)        i < K/2

Shapes   q (B,T,H,K)   k (B,T,G,K)   tables cos, sin (B or 1,T,1,K/2), made once a forward
Source   arXiv 2104.09864    Family  position
Differs  halves are paired (x_i with x_{i+K/2}), as in Llama, not neighbours
"""

from blockyard.core import Site
from blockyard.core.settings import Base
from blockyard.parts.position._rope import Rotary


class Rope(Rotary):
    claims = dict(
        causal=True, streams=True, packs=True, row_independent=True, bidirectional=True, any_order=True, fixed=True
    )  # fmt: skip

    def __init__(self, site: Site, *, base: Base = 10000.0) -> None:
        super().__init__(site, base)
