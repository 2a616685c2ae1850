"""Normalise the stream after every addition.

    x <- N(x + F(x))

Shapes   x (B,T,D)
Source   arXiv 1706.03762    Family  residual
Differs  nothing known
"""

from typing import Annotated

from torch import Tensor

from blockyard.core import Call, Residual, Site, Spec
from blockyard.core.settings import NormSpec


class PostNorm(Residual):
    claims = dict(per_token=True, row_independent=True)

    def __init__(
        self,
        site: Site,
        *,
        norm: Annotated[NormSpec, "the norm of the stream after each addition"] = Spec("norm", "layer"),
    ) -> None:
        super().__init__()
        self.norm = site.build("norm", norm)

    def write(self, carry: Tensor, y: Tensor, call: Call) -> Tensor:
        return self.norm(carry + y, call)
