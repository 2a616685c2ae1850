"""One gate a channel shares the stream between what it was and what a sublayer writes.

    t = sigmoid(W N(x) - b)        x <- (1 - t) * x + t * F(N(x))

b starts at 2, so that most of the stream passes at first.

Shapes   x, t (B,T,D)   b (D)
Source   arXiv 1505.00387    Family  residual
Differs  a norm may stand before F and the gate
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Call, Cat, Residual, Site, Spec, constant
from blockyard.core.settings import NormSpec, Number


class Highway(Residual):
    claims = dict(per_token=True, row_independent=True)
    points = ("gate",)

    def __init__(
        self, site: Site, *, norm: Annotated[NormSpec, "the norm of what a sublayer reads"] = Spec("norm", "rms"),
        shut: Annotated[Number, "how far the gate is shut at first"] = 2.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm = site.build("norm", norm)
        self.gate = site.linear("gate", site.stream, Cat(site.stream))
        self.shut = site.param("shut", (site.stream,), constant(shut))

    def read(self, carry: Tensor, ports: tuple[str, ...], call: Call) -> Any:
        return self.norm(carry, call)

    def write(self, carry: Tensor, y: Tensor, call: Call) -> Tensor:
        gate = (self.gate(self.norm(carry, call), call) + -self.shut.to(y.dtype)).sigmoid()
        return carry + self.point("gate", gate, call) * (y + -carry)
