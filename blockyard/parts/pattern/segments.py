"""A query reads its own segment and so many tokens before it, the memory that the segments before left.

    j is read by i        j >= size floor(i / size) - memory        and j <= i, as ever

Segments are counted from the beginning of a document. A layer reaches `memory` tokens further back than the one below
it, so that the last of L layers hears of tokens about L times as far. A cache keeps size + memory - 1 tokens.

Shapes   none: what is read follows from positions
Source   arXiv 1901.02860    Slug  rl-survey    Family  patterns
Differs  a reading: a gradient goes through what is read, unlike in `mixer:segment_memory`
"""

from collections.abc import Hashable
from typing import Annotated

from torch import Tensor

from blockyard.core import Call, Site
from blockyard.core.part import Pattern
from blockyard.core.settings import Count, Natural


class Segments(Pattern):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True)
    chooses = True
    unrecorded = "what is read is told by a mask"
    variants = (dict(size=4, memory=3), dict(size=3, memory=0), dict(size=5))

    def __init__(
        self, site: Site, *, size: Annotated[Count, "tokens of a segment"] = 32,
        memory: Annotated[Natural, "tokens before the segment that are read; none: all"] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.size, self.memory = size, memory
        self.window = None if memory is None else size + memory

    @property
    def key(self) -> Hashable:
        return "segments", self.size, self.memory

    def first(self, positions: Tensor) -> Tensor:
        """The first position of the segment of each."""
        return positions - positions % self.size

    def leaves(self, q_pos: Tensor, k_pos: Tensor, call: Call) -> Tensor:
        first = self.first(q_pos)[:, :, None]
        return k_pos[:, None, :] >= (first * 0 if self.memory is None else first - self.memory)
