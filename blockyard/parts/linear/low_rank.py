"""A matrix as the product of two thin ones.

    y = U (V x) + b        U ~ N(0, gain^2 / rank),  V ~ N(0, 1 / fan_in),  b = 0 at first

An orthonormal start takes the nearest matrices whose singular values are all 1 of V, and gain of U.

Shapes   x (..., reads)   y (..., writes)   V (rank, reads)   U (writes, rank)   b (writes)
Source   none    Family  linear
Differs  nothing known
"""

from typing import Annotated, Literal

import torch
from torch import Tensor

from blockyard.core import Call, Expr, Linear, Site, constant, normal
from blockyard.core.part import Merged
from blockyard.core.settings import Rank
from blockyard.kernels import linear
from blockyard.parts.linear._orthonormal import orthonormal


class LowRank(Linear):
    claims = dict(per_token=True, row_independent=True)
    points = ("hidden",)
    variants = ({}, dict(start="orthonormal"))

    def __init__(
        self, site: Site, reads: Expr, writes: Expr, biased: bool, gain: float, *, rank: Rank = 16,
        start: Annotated[Literal["normal", "orthonormal"], "what the two matrices are drawn as"] = "normal",
    ) -> None:  # fmt: skip
        super().__init__()
        inner, drawn = site.axis("rank", rank), start == "normal"
        down = normal(reads.size**-0.5) if drawn else orthonormal()
        up = normal(gain * rank**-0.5) if drawn else orthonormal(gain)
        self.down = site.param("down", (inner, reads), down, decay=True, reads=reads, writes=inner)
        self.up = site.param("up", (writes, inner), up, decay=True, reads=inner, writes=writes)
        self.bias = site.param("bias", (writes,), constant(0.0)) if biased else None

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        return linear(self.point("hidden", linear(x, self.down), call), self.up, self.bias)

    def matrix(self) -> Tensor:
        return self.up @ self.down

    def plus(self, up: Tensor, down: Tensor) -> Merged:
        made = {"up": torch.cat([self.up, up], 1), "down": torch.cat([self.down, down], 0)}
        rank = len(made["down"])
        return {"rank": rank, "axes.rank": rank}, made
