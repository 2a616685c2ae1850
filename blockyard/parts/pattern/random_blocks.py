"""Blocks of queries read blocks of keys by chance, the further the less; their own block always.

    block b of queries reads block c of keys with probability max(floor, (1 + b - c)^-fall)        b, c = place / size

Drawn anew in each step of training, and once for all outside it: the pattern of a text does not depend on its length.

Shapes   none: what is read follows from positions
Source   arXiv 2410.18441    Family  patterns
Differs  a reading: the paper names no schedule of probabilities
"""

from collections.abc import Hashable
from typing import Annotated

from torch import Tensor

from blockyard.core import Call, Site
from blockyard.core.part import Pattern
from blockyard.core.settings import Count, Fraction, NonNegative


class RandomBlocks(Pattern):
    chooses = True
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, bidirectional=True, any_order=True)
    unrecorded = "which blocks are read is drawn"
    variants = (dict(size=3, fall=1.0), dict(size=2, fall=4.0, floor=0.3))

    def __init__(
        self, site: Site, *, size: Annotated[Count, "tokens of a block"] = 32,
        fall: Annotated[NonNegative, "how fast the chance falls with the blocks between; 0: all are read"] = 0.5,
        floor: Annotated[Fraction, "the least chance of a block"] = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.size, self.fall, self.floor = size, fall, floor

    @property
    def key(self) -> Hashable:
        return self.path

    def chance(self, apart: Tensor) -> Tensor:
        """The chance that a block is read which lies so many blocks behind, or ahead."""
        return (1.0 + apart.abs()).pow(-self.fall).clamp(min=self.floor)

    def leaves(self, q_pos: Tensor, k_pos: Tensor, call: Call) -> Tensor:
        row, column = (q_pos // self.size)[:, :, None], (k_pos // self.size)[:, None, :]
        apart = row - column
        return (call.uniform_at(self.path, row * 2**31 + column) < self.chance(apart)) | (apart == 0)
