"""Normalise what a sublayer reads and add a fixed multiple of what it writes.

    x <- x + factor F(N(x))

Shapes   x (B,T,D)
Source   arXiv 2404.06395    Family  residual
Differs  nothing known
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Call, Residual, Site, Spec
from blockyard.core.settings import NormSpec, Number


class Multiplied(Residual):
    claims = dict(per_token=True, row_independent=True)
    variants = ({}, dict(factor=0.22, norm="layer"))

    def __init__(
        self, site: Site, *, factor: Annotated[Number, "how much of what a sublayer writes is added"] = 1.0,
        norm: Annotated[NormSpec, "the norm of what a sublayer reads"] = Spec("norm", "rms"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm, self.factor = site.build("norm", norm), factor

    def read(self, carry: Tensor, ports: tuple[str, ...], call: Call) -> Any:
        return self.norm(carry, call)

    def write(self, carry: Tensor, y: Tensor, call: Call) -> Tensor:
        return carry + self.factor * y
