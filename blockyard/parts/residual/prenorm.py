"""Normalise what a sublayer reads; add what it writes to the untouched stream.

    x <- x + F(N(x))

Shapes   x (B,T,D)
Source   arXiv 2002.04745    Family  residual
Differs  nothing known
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Call, Residual, Site, Spec
from blockyard.core.settings import NormSpec


class PreNorm(Residual):
    claims = dict(per_token=True, row_independent=True)

    def __init__(
        self, site: Site, *, norm: Annotated[NormSpec, "the norm of what a sublayer reads"] = Spec("norm", "rms")
    ) -> None:
        super().__init__()
        self.norm = site.build("norm", norm)

    def read(self, carry: Tensor, ports: tuple[str, ...], call: Call) -> Any:
        return self.norm(carry, call)
