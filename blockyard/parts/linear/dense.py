"""A full matrix from what it reads to what it writes.

    y = W x + b        W ~ N(0, gain^2 / fan_in),  b = 0 at first

There is a b where the part asks for one; the setting `bias` decides for all.

Shapes   x (..., reads)   y (..., writes)   W (writes, reads)   b (writes)
Source   none    Family  linear
Differs  nothing known
"""

from typing import Annotated

from torch import Tensor, nn

from blockyard.core import Call, Expr, Linear, Site, Spec, UsageError, constant, widest_dtype
from blockyard.core.part import Merged
from blockyard.core.settings import StoreSpec


class Dense(Linear):
    claims = dict(per_token=True, row_independent=True)
    points = ("linear_in", "linear_out")
    replaces = dict(packed=dict(store="packed"))

    def __init__(
        self, site: Site, reads: Expr, writes: Expr, biased: bool, gain: float, *,
        bias: Annotated[bool, "a learned number added to each output; none: where the part asks for it"] | None = None,
        store: StoreSpec = Spec("store", "dense"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.store, self.weight = site.matrix(
            "weight", store, writes, reads, gain * reads.size**-0.5, decay=True, reads=reads, writes=writes
        )
        self.bias = site.param("bias", (writes,), constant(0.0)) if (biased if bias is None else bias) else None

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        if call is not None and call.points is not None:
            x = self.point("linear_in", x, call)
            return self.point("linear_out", self.store.linear(x, self.weight, self.bias), call)
        return self.store.linear(x, self.weight, self.bias)

    def matrix(self) -> Tensor:
        return self.store.full(self.weight)

    def become(self, matrix: Tensor, times: Tensor | None = None) -> Merged:
        if not isinstance(self.weight, nn.Parameter):
            raise UsageError(f"{self.path} keeps its matrix as store:{self.store.spec.name}: merge first, then pack")
        made = {"weight": matrix.to(self.weight.dtype)}
        if self.bias is not None and times is not None:
            made["bias"] = (self.bias.to(times.dtype) * times).to(self.bias.dtype)
        return {}, made

    def plus(self, up: Tensor, down: Tensor) -> Merged:
        wide = widest_dtype(self.weight.device)
        return self.become(self.matrix().to(wide) + up.to(wide) @ down.to(wide))
