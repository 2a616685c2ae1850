"""Lower a score in proportion to the distance, each head at its own slope.

    bias_h(d) = -m_h |d|        m_h = 2^(-8 h / H),  h = 1..H

Where H is no power of two, `interleaved` slopes are those of the power below, then every other one of twice as many.

Shapes   table (H, 2n-1)
Source   arXiv 2108.12409    Family  position
Differs  the plain series for every H by default; the paper's own code interleaves
"""

from typing import Annotated, Literal

import torch
from torch import Tensor

from blockyard.core import Position, Prod, Site


class Alibi(Position):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, bidirectional=True, any_order=True)
    variants = ({}, dict(slopes="interleaved"))

    def __init__(
        self, site: Site, *,
        slopes: Annotated[Literal["plain", "interleaved"], "how the heads divide the series"] = "plain",
    ) -> None:  # fmt: skip
        super().__init__()
        self.slopes = slopes
        *self.heads, _ = site.stream.leaves()
        for axis in self.heads:
            axis.ordered = True

    def by_distance(self, n: int) -> Tensor:
        count = Prod(*self.heads).size
        slopes = _series(count)
        if self.slopes == "interleaved" and count & (count - 1):
            below = 1 << (count.bit_length() - 1)
            slopes = torch.cat([_series(below), _series(2 * below)[::2][: count - below]])
        return -slopes[:, None] * (torch.arange(2 * n - 1) - (n - 1)).abs()


def _series(count: int) -> Tensor:
    """(count,) slopes in a geometric series that ends at 2^-8."""
    return 2.0 ** (-8.0 * torch.arange(1, count + 1) / count)
