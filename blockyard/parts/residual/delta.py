"""Take what a sublayer writes as a direction: how much of the stream lies along it is erased and written anew.

    k = F(N(x)) / |F(N(x))|        x <- x + b (v - k . x) k
    b = 2 sigmoid(w_b . N(x) + c_b)        v = w_v . x + c_v

With b = 1 the stream has v along k afterwards; with b = 2 and v = 0 it is reflected. What is orthogonal to k stays.
At first b is 1 and v is 2.

Shapes   x (B,T,D)   w (D)   b, v (B,T,1)
Source   arXiv 2601.00417, 2603.16039    Slug  residual-duality    Family  residual
Differs  one value a token (d_v = 1); v starts as the constant of the authors' code and learns
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Call, Residual, Site, Spec, constant, upcast
from blockyard.core.settings import Eps, NormSpec, Number


class Delta(Residual):
    claims = dict(per_token=True, row_independent=True)
    points = ("beta", "value")

    def __init__(
        self, site: Site, *, norm: Annotated[NormSpec, "the norm of what a sublayer reads"] = Spec("norm", "rms"),
        value: Annotated[Number, "what is written along a direction at first"] = 2.0, eps: Eps = 1e-12,
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm = site.build("norm", norm)
        self.beta = site.param("beta", (site.stream,), constant(0.0))
        self.beta_shift = site.param("beta_shift", (), constant(0.0))
        self.value = site.param("value", (site.stream,), constant(0.0))
        self.value_shift = site.param("value_shift", (), constant(value))
        self.eps = eps

    def read(self, carry: Tensor, ports: tuple[str, ...], call: Call) -> Any:
        return self.norm(carry, call)

    def write(self, carry: Tensor, y: Tensor, call: Call) -> Tensor:
        x, y, read = upcast(carry), upcast(y), upcast(self.norm(carry, call))
        k = y * (y.square().sum(-1, keepdim=True) + self.eps).rsqrt()  # a sublayer may write nothing at first
        beta = 2 * ((read * self.beta).sum(-1, keepdim=True) + self.beta_shift).sigmoid()
        value = (x * self.value).sum(-1, keepdim=True) + self.value_shift
        beta, value = self.point("beta", beta, call), self.point("value", value, call)
        missing = value + -(k * x).sum(-1, keepdim=True)
        return carry + (k * (beta * missing)).to(carry.dtype)
