"""A projection whose rows turn by a product of two thin matrices, and whose lengths are learned apart from that.

    V = W + (alpha / rank) B A        y = (m / |V|) V x + b        A ~ U(-1, 1) / sqrt(fan_in), B = 0, m = |W| at first

W is the matrix of any projection that says which it is, packed ones too; |.| is the length of each row. No gradient
goes through |V|. At first nothing changes, to the bit.

Shapes   x (..., reads)   y (..., writes)   A (rank, reads)   B (writes, rank)   m (writes)
Source   arXiv 2402.09353 (section 4.3: lengths are constants to the gradient)    Family  linear
Differs  queries, keys and values that are one projection share one pair
"""

from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core import Call, Expr, Linear, Site, Spec, UsageError, upcast
from blockyard.core.part import Merged
from blockyard.core.settings import Dropout, LinearSpec, Positive, Rank
from blockyard.kernels import linear
from blockyard.parts.linear._thin import thin


class DoRA(Linear):
    claims = dict(per_token=True, row_independent=True)
    points = ("hidden", "added")
    attached_to = "base"

    def __init__(
        self, site: Site, reads: Expr, writes: Expr, biased: bool, gain: float, *, rank: Rank = 8,
        alpha: Annotated[Positive, "what is added counts alpha / rank times; none: once"] | None = None,
        dropout: Annotated[Dropout, "the share of what the change reads that training leaves out"] = 0.0,
        base: Annotated[LinearSpec, "what it is attached to"] = Spec("linear", "dense"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.base: Any = site.build("base", base, reads, writes, biased, gain)
        if not isinstance(self.base, Linear):
            raise UsageError(f"{site.path}: dora turns the rows of a matrix, and linear:{base.name} is none")
        self.down, self.up = thin(site, reads, writes, rank)
        self.factor, self.dropout = 1.0 if alpha is None else alpha / rank, dropout
        self.magnitude = site.param("magnitude", (writes,), lambda value, _: value.copy_(self._lengths()))

    def _turned(self) -> Tensor:
        """(writes, reads): V."""
        matrix = upcast(self.base.matrix().detach())
        return matrix + self.factor * upcast(self.up) @ upcast(self.down)

    def _lengths(self) -> Tensor:
        """(writes): |V|."""
        return torch.linalg.vector_norm(self._turned(), dim=1)

    def settle(self) -> None:
        self.magnitude.copy_(self._lengths())

    def scale(self) -> Tensor:
        """(writes): m / |V|, 1 of a row without length."""
        lengths = self._lengths().detach()
        return torch.where(lengths > 0, self.magnitude / lengths, torch.ones_like(lengths))

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        read = x if call is None else call.dropout(self.path, x, self.dropout)
        scale = self.scale().to(x.dtype)
        turned = self.factor * linear(self.point("hidden", linear(read, self.down), call), self.up)
        added = (scale - 1) * linear(read, self.base.matrix().to(x.dtype)) + scale * turned
        return self.base(x, call) + self.point("added", added, call)

    def merged(self) -> Merged:
        return self.base.become(self.scale()[:, None] * self._turned())
