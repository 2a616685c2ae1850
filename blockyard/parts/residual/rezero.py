"""Add what a sublayer writes at a learned strength that starts at zero, so that a fresh stack returns its input.

    x <- x + a F(N(x))        a = 0 at first

At the first step only a has a gradient; what stands in F learns from then on.

Shapes   x (B,T,D)   a ()
Source   arXiv 2003.04887, 2002.10444 (SkipInit)    Family  residual
Differs  a for every sublayer; a norm may stand before F
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Call, Residual, Site, Spec, constant
from blockyard.core.settings import NormSpec


class ReZero(Residual):
    claims = dict(per_token=True, row_independent=True)
    variants = ({}, dict(norm="rms"))

    def __init__(
        self, site: Site, *, norm: Annotated[NormSpec, "the norm of what a sublayer reads"] = Spec("norm", "none")
    ) -> None:
        super().__init__()
        self.norm = site.build("norm", norm)
        self.strength = site.param("strength", (), constant(0.0))

    def read(self, carry: Tensor, ports: tuple[str, ...], call: Call) -> Any:
        return self.norm(carry, call)

    def write(self, carry: Tensor, y: Tensor, call: Call) -> Tensor:
        return carry + self.strength.to(y.dtype) * y
