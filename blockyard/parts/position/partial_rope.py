"""Rotate only some channels of queries and keys by their position; the others know no position.

    (x_i, x_{i+K/2}) <- rotation by p * base^(-2i/R)        i < R/2,  R = share K
    all other channels stay as they are

Shapes   q (B,T,H,K)   k (B,T,G,K)   tables cos, sin (B or 1,T,1,K/2), made once a forward
Source   arXiv 2204.06745    Family  position
Differs  the first R/2 channels of each half are rotated, not the first R of all: the same up to an order of channels
"""

from typing import Annotated

from torch import Tensor
from torch.nn.functional import pad

from blockyard.core import Call, Site, UsageError
from blockyard.core.settings import Base, Share
from blockyard.parts.position._rope import Rotary


class PartialRope(Rotary):
    claims = dict(
        causal=True, streams=True, packs=True, row_independent=True, bidirectional=True, any_order=True, fixed=True
    )  # fmt: skip
    variants = (dict(share=0.5), dict(share=1.0))

    def __init__(
        self, site: Site, *, share: Annotated[Share, "of a head's channels, how many are rotated"] = 0.25,
        base: Base = 10000.0,
    ) -> None:  # fmt: skip
        super().__init__(site, base)
        self.share = share
        if self.pairs < 1:
            raise UsageError(f"{site.path}: share={share:g} of {self.head_dim.size} channels is no pair to rotate")

    @property
    def pairs(self) -> int:
        """R/2: how many pairs turn."""
        return int(self.share * self.head_dim.size) // 2

    def speeds(self, call: Call) -> Tensor:
        half, pairs = self.head_dim.size // 2, self.pairs
        powers = self.powers(call.positions.device)[:pairs] * (half / pairs)
        return pad(self.base**-powers, (0, half - pairs))
