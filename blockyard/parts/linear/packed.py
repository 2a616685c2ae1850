"""A full matrix kept in few bits: what it multiplies is read from the codes.

    y = W x + b        W = scale * code, a scale for every `group` numbers of a row

It does not learn: a model is trained first and packed after, by `blockyard.quantise`.

Shapes   x (..., reads)   y (..., writes)   packed (tiles, bytes)   b (writes)
Source   arXiv 2206.01861    Family  linear
Differs  scales in half precision, fitted to the codes; what is multiplied keeps its precision, or 16 bits a block
"""

from typing import Annotated

from torch import Tensor

from blockyard.core import Call, Expr, Part, Site, constant
from blockyard.core.settings import Bits, Group
from blockyard.kernels import packed_linear
from blockyard.kernels.weights import dense
from blockyard.parts.linear._store import packed_buffer


class Packed(Part):
    claims = dict(per_token=True, row_independent=True)
    points = ("linear_in", "linear_out")

    def __init__(
        self, site: Site, reads: Expr, writes: Expr, biased: bool, gain: float, *, bits: Bits = 8,
        group: Group = 32,
        bias: Annotated[bool, "a learned number added to each output; none: where the part asks for it"] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.packed = packed_buffer(site, writes.size, reads.size, gain * reads.size**-0.5, bits, group)
        self.bias = site.param("bias", (writes,), constant(0.0)) if (biased if bias is None else bias) else None
        self.bits, self.group, self.reads, self.writes = bits, group, reads.size, writes.size

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        x = self.point("linear_in", x, call)
        y = packed_linear(x, self.packed, self.bits, self.group, self.writes)
        return self.point("linear_out", y if self.bias is None else y + self.bias.to(y.dtype), call)

    def dense(self) -> Tensor:
        """The weight as one full matrix, whatever its store."""
        return dense(self.packed, self.bits, self.group, self.reads)[: self.writes]
