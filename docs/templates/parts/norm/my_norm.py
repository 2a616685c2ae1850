"""Scale every token to a root mean square of its own, learned as one number.

    y = g x / sqrt(mean(x^2) + eps)

Shapes   x, y (..., D)   g (1)
Source   none    Family  norm
Differs  nothing known
"""

from torch import Tensor

from blockyard.core import Call, Part, Site, constant
from blockyard.core.settings import Eps


class MyNorm(Part):
    claims = dict(per_token=True, row_independent=True, scale_invariant=True)

    def __init__(self, site: Site, *, eps: Eps = 1e-5) -> None:
        super().__init__()
        self.gain = site.param("gain", (site.axis("gain", 1),), constant(1.0))
        self.eps = eps

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        scale = (x.square().mean(-1, keepdim=True) + self.eps).rsqrt()
        return x * scale * self.gain.to(x.dtype)
