"""A projection that stays as it is, and beside it the product of two thin matrices, which starts at zero.

    y = F(x) + (alpha / rank) B A x        A ~ U(-1, 1) / sqrt(fan_in),  B = 0 at first

F is any projection. Where F is a matrix W, the two are W + (alpha / rank) B A and can be merged.

Shapes   x (..., reads)   y (..., writes)   A (rank, reads)   B (writes, rank)
Source   arXiv 2106.09685    Family  linear
Differs  queries, keys and values that are one projection share one pair
"""

from typing import Annotated

from torch import Tensor

from blockyard.core import Call, Expr, Linear, Site, Spec, UsageError
from blockyard.core.part import Merged
from blockyard.core.settings import Dropout, LinearSpec, Positive, Rank
from blockyard.kernels import linear
from blockyard.parts.linear._thin import thin


class LoRA(Linear):
    claims = dict(per_token=True, row_independent=True)
    points = ("hidden", "added")
    attached_to = "base"

    def __init__(
        self, site: Site, reads: Expr, writes: Expr, biased: bool, gain: float, *, rank: Rank = 8,
        alpha: Annotated[Positive, "what is added counts alpha / rank times; none: once"] | None = None,
        dropout: Annotated[Dropout, "the share of what A reads that training leaves out"] = 0.0,
        base: Annotated[LinearSpec, "what it is attached to"] = Spec("linear", "dense"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.base = site.build("base", base, reads, writes, biased, gain)
        self.down, self.up = thin(site, reads, writes, rank)
        self.factor, self.dropout = 1.0 if alpha is None else alpha / rank, dropout

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        read = x if call is None else call.dropout(self.path, x, self.dropout)
        added = self.factor * linear(self.point("hidden", linear(read, self.down), call), self.up)
        return self.base(x, call) + self.point("added", added, call)

    def merged(self) -> Merged:
        if not isinstance(self.base, Linear):
            raise UsageError(f"{self.path}: linear:{self.base.spec.name} does not say how a matrix is added to it")
        return self.base.plus(self.factor * self.up, self.down)
