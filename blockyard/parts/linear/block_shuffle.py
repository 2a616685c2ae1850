"""A matrix as two block-diagonal ones with a shuffle between, so that every output meets every input.

    z_k = V_k x_k        x_k the k-th of b runs of x; z their answers side by side, r numbers
    o_k = U_k z'_k       z'_k: every b-th number of z, from the k-th on
    y = every o in turns: o_1[1], ..., o_b[1], o_1[2], ...        + c

All blocks are the nearest matrices to normal draws whose singular values are all 1, and gain of U; c = 0 at first. It
has r (reads + writes) / b numbers. With one block it is a product of two full matrices.

Shapes   x (..., reads)   y (..., writes)   V (b r/b, reads/b)   U (b writes/b, r/b), block over block   c (writes)
Source   arXiv 2406.16450, 2204.00595    Slug  structured-ffn    Family  linear
Differs  r is a setting (paper: the narrower of both sides)
"""

from typing import Annotated

from torch import Tensor

from blockyard.core import Call, Expr, Linear, Prod, Site, constant
from blockyard.core.settings import Count, Rank
from blockyard.parts.linear._blocks import blocked, hold
from blockyard.parts.linear._orthonormal import orthonormal


class BlockShuffle(Linear):
    claims = dict(per_token=True, row_independent=True)
    points = ("hidden",)
    variants = ({}, dict(blocks=4, rank=8))

    def __init__(
        self, site: Site, reads: Expr, writes: Expr, biased: bool, gain: float, *,
        blocks: Annotated[Count, "blocks of each of the two matrices"] = 2,
        rank: Annotated[Rank, "numbers between the two; none: the narrower of what it reads and writes"] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        total, many = rank or min(reads.size, writes.size), site.axis("blocks", blocks)
        each = site.axis("each", lambda: site.divide("blocks", total, blocks))
        run = site.axis("run", site.divide("blocks", reads.size, blocks))
        part = site.axis("part", site.divide("blocks", writes.size, blocks))
        inner = Prod(many, each)
        self.down = site.param(
            "down", (inner, run), orthonormal(1.0, blocks), decay=True, reads=reads, writes=inner
        )  # fmt: skip
        self.up = site.param(
            "up", (Prod(many, part), each), orthonormal(gain, blocks), decay=True, reads=inner, writes=writes
        )
        self.bias = site.param("bias", (writes,), constant(0.0)) if biased else None
        self.blocks = blocks
        hold(site, (reads, writes), ("blocks", "each", "run", "part"))

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        z = blocked(x.unflatten(-1, (self.blocks, -1)), self.down).flatten(-2)
        z = self.point("hidden", z, call).unflatten(-1, (-1, self.blocks)).transpose(-1, -2)
        y = blocked(z, self.up).transpose(-1, -2).flatten(-2)
        return y if self.bias is None else y + self.bias.to(y.dtype)
