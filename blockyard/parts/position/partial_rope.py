"""Rotate only some channels of queries and keys by their position; the others know no position.

    (x_i, x_{i+K/2}) <- rotation by p * base^(-2i/R)        i < R/2,  R = share K
    all other channels stay as they are

`of` is another scheme of turning for the channels that turn: it sees a head of R channels.

Shapes   q (B,T,H,K)   k (B,T,G,K)   tables cos, sin (B or 1,T,1,K/2), made once a forward
Source   arXiv 2204.06745    Family  position
Differs  the first R/2 channels of each half are rotated, not the first R of all: the same up to an order of channels
"""

from typing import Annotated

import torch
from torch import Tensor
from torch.nn.functional import pad

from blockyard.core import Axis, Call, Site, UsageError
from blockyard.core.settings import Base, PositionSpec, Share
from blockyard.parts.position._rope import Rotary


class PartialRope(Rotary):
    claims = dict(
        causal=True, streams=True, packs=True, row_independent=True, bidirectional=True, any_order=True, fixed=True
    )  # fmt: skip
    variants = (dict(share=0.5), dict(share=1.0), dict(share=0.5, of="yarn"))

    def __init__(
        self, site: Site, *, share: Annotated[Share, "of a head's channels, how many are rotated"] = 0.25,
        base: Base = 10000.0,
        of: Annotated[PositionSpec, "how they are; none: at the speeds of `base`"] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(site, base)
        self.share, self.of = share, None
        if self.pairs < 1:
            raise UsageError(f"{site.path}: share={share:g} of {self.head_dim.size} channels is no pair to rotate")
        if of is not None:
            turned = site.axis("turned", 2 * self.pairs)
            self.head_dim.fixed = turned.fixed = "another scheme turns some of the channels of a head"
            self.of = site.slot("of", of, on=turned)
            if not isinstance(self.of, Rotary) or type(self.of).at_qk is not Rotary.at_qk or base != 10000.0:
                raise UsageError(f"{site.path}: of= takes a position that turns by tables, and its base stands there")
            self.claims = {name: held for name, held in self.claims.items() if self.of.claims.get(name)}
            self.unrecorded = self.of.unrecorded

    @property
    def pairs(self) -> int:
        """R/2: how many pairs turn."""
        return int(self.share * self.head_dim.size) // 2

    @property
    def elsewhere(self) -> tuple[Axis, Tensor]:
        """The channels of a head as they are numbered where its first R turn."""
        turned, still = torch.arange(2 * self.pairs).chunk(2), torch.arange(2 * self.pairs, self.head_dim.size)
        half = len(still) // 2
        return self.head_dim, torch.cat([turned[0], still[:half], turned[1], still[half:]])

    def prepare(self, call: Call) -> None:
        if self.of is not None:
            self.of.prepare(call)
        super().prepare(call)

    def tables(self, call: Call) -> tuple[Tensor, Tensor]:
        return super().tables(call) if self.of is None else self.padded(self.of.made(call))

    def back(self, call: Call) -> tuple[Tensor, Tensor]:
        return super().back(call) if self.of is None else self.padded(self.of.back(call))

    def padded(self, tables: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Tables of the pairs that turn, and those of all."""
        rest = (0, self.head_dim.size // 2 - self.pairs)
        return pad(tables[0], rest, value=1.0), pad(tables[1], rest)

    def speeds(self, call: Call) -> Tensor:
        half, pairs = self.head_dim.size // 2, self.pairs
        if self.of is not None:
            return pad(self.of.speeds(call), (0, half - pairs))
        powers = self.powers(call.positions.device)[:pairs] * (half / pairs)
        return pad(self.base**-powers, (0, half - pairs))
