"""Add of what a sublayer writes only what is orthogonal to the stream: what it merely scales is left out.

    u = x / |x|        x <- x + y - (u . y) u        y = F(N(x))

Shapes   x, y (B,T,D)
Source   arXiv 2505.11881    Family  residual
Differs  of whole tokens; eps stands under the root of the size
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Call, Residual, Site, Spec, upcast
from blockyard.core.settings import Eps, NormSpec


class Orthogonal(Residual):
    claims = dict(per_token=True, row_independent=True)

    def __init__(
        self, site: Site, *, norm: Annotated[NormSpec, "the norm of what a sublayer reads"] = Spec("norm", "rms"),
        eps: Eps = 1e-12,
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm, self.eps = site.build("norm", norm), eps

    def read(self, carry: Tensor, ports: tuple[str, ...], call: Call) -> Any:
        return self.norm(carry, call)

    def write(self, carry: Tensor, y: Tensor, call: Call) -> Tensor:
        x, new = upcast(carry), upcast(y)
        u = x * (x.square().sum(-1, keepdim=True) + self.eps).rsqrt()  # of a stream of zeros: zeros
        along = (u * new).sum(-1, keepdim=True)
        return carry + (new + -(u * along)).to(carry.dtype)
