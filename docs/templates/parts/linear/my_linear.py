"""A full matrix with a learned gain for each of its outputs.

    y = g * (W x) + b        W ~ N(0, gain^2 / fan_in),  g = 1,  b = 0 at first

Shapes   x (..., reads)   y (..., writes)   W (writes, reads)   g, b (writes)
Source   none    Family  linear
Differs  nothing known
"""

from torch import Tensor

from blockyard.core import Call, Expr, Part, Site, Spec, constant
from blockyard.core.settings import StoreSpec


class MyLinear(Part):
    claims = dict(per_token=True, row_independent=True)
    points = ("linear_out",)

    def __init__(
        self, site: Site, reads: Expr, writes: Expr, biased: bool, gain: float, *,
        store: StoreSpec = Spec("store", "dense"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.store, self.weight = site.matrix(
            "weight", store, writes, reads, gain * reads.size**-0.5, decay=True, reads=reads, writes=writes
        )
        self.gain = site.param("gain", (writes,), constant(1.0))
        self.bias = site.param("bias", (writes,), constant(0.0)) if biased else None

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        y = self.store.linear(x, self.weight) * self.gain.to(x.dtype)
        y = y if self.bias is None else y + self.bias.to(x.dtype)
        return self.point("linear_out", y, call)
