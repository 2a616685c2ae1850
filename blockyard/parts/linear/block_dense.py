"""A matrix as a block-diagonal one, which makes few numbers of many, and a full one behind it.

    z_k = V_k x_k        x_k the k-th of b runs of x        y = U [z_1 ... z_b] + c

All blocks and U are the nearest matrices to normal draws whose singular values are all 1, and gain of U; c = 0 at
first. With one block it is linear:low_rank with an orthonormal start.

Shapes   x (..., reads)   y (..., writes)   V (b r/b, reads/b), block over block   U (writes, r)   c (writes)
Source   arXiv 2406.16450    Slug  structured-ffn    Family  linear
Differs  nothing known
"""

from typing import Annotated

from torch import Tensor

from blockyard.core import Call, Expr, Linear, Prod, Site, constant
from blockyard.core.settings import Count, Rank
from blockyard.kernels import linear
from blockyard.parts.linear._blocks import blocked, hold
from blockyard.parts.linear._orthonormal import orthonormal


class BlockDense(Linear):
    claims = dict(per_token=True, row_independent=True)
    points = ("hidden",)
    variants = ({}, dict(blocks=1, rank=5))

    def __init__(
        self, site: Site, reads: Expr, writes: Expr, biased: bool, gain: float, *,
        blocks: Annotated[Count, "runs of what it reads, each with a matrix of its own"] = 2, rank: Rank = 16,
    ) -> None:  # fmt: skip
        super().__init__()
        each = site.axis("each", lambda: site.divide("blocks", rank, blocks))
        inner, run = (
            Prod(site.axis("blocks", blocks), each),
            site.axis("run", site.divide("blocks", reads.size, blocks)),
        )
        start = orthonormal(1.0, blocks)
        self.down = site.param("down", (inner, run), start, decay=True, reads=reads, writes=inner)
        self.up = site.param("up", (writes, inner), orthonormal(gain), decay=True, reads=inner, writes=writes)
        self.bias = site.param("bias", (writes,), constant(0.0)) if biased else None
        self.blocks = blocks
        hold(site, (reads,), ("blocks", "each", "run"))

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        z = blocked(x.unflatten(-1, (self.blocks, -1)), self.down).flatten(-2)
        return linear(self.point("hidden", z, call), self.up, self.bias)
