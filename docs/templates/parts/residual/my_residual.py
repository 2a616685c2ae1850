"""Normalise what a sublayer reads; add what it writes at a learned strength, one for all channels.

    x <- x + s F(N(x))

Shapes   x (B,T,D)   s (1)
Source   none    Family  residual
Differs  nothing known
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Call, Residual, Site, Spec, constant
from blockyard.core.settings import NormSpec


class MyResidual(Residual):
    claims = dict(per_token=True, row_independent=True)

    def __init__(
        self, site: Site, *, norm: Annotated[NormSpec, "the norm of what a sublayer reads"] = Spec("norm", "rms")
    ) -> None:
        super().__init__()
        self.norm = site.build("norm", norm)
        self.strength = site.param("strength", (site.axis("strength", 1),), constant(site.steps**-0.5))

    # A carry other than the stream is made by `start` and turned back by `flush`; here it is the stream itself.

    def read(self, carry: Tensor, ports: tuple[str, ...], call: Call) -> Any:
        return self.norm(carry, call)

    def write(self, carry: Tensor, y: Tensor, call: Call) -> Tensor:
        return carry + self.strength.to(y.dtype) * y
