"""Normalise what a sublayer writes, and nothing else (the placement of OLMo 2).

    x <- x + N(F(x))

Shapes   x (B,T,D)
Source   arXiv 2501.00656    Family  residual
Differs  nothing known
"""

from typing import Annotated

from torch import Tensor

from blockyard.core import Call, Residual, Site, Spec
from blockyard.core.settings import NormSpec


class OutNorm(Residual):
    claims = dict(per_token=True, row_independent=True)

    def __init__(
        self, site: Site, *, norm: Annotated[NormSpec, "the norm of what a sublayer writes"] = Spec("norm", "rms")
    ) -> None:
        super().__init__()
        self.norm = site.build("norm", norm)

    def write(self, carry: Tensor, y: Tensor, call: Call) -> Tensor:
        return carry + self.norm(y, call)
