"""Scale every token to unit root mean square, with a learned gain.

    y = g * x / sqrt(mean(x^2) + eps)

Shapes   x, y (..., D)   g (D)
Source   arXiv 1910.07467    Family  norm
Differs  nothing known
"""

from torch import Tensor

from blockyard.core import Call, Part, Site, constant
from blockyard.core.settings import Eps
from blockyard.kernels import rms_norm


class RMSNorm(Part):
    claims = dict(per_token=True, row_independent=True, scale_invariant=True)

    def __init__(self, site: Site, *, eps: Eps = 1e-5) -> None:
        super().__init__()
        self.gain = site.param("gain", (site.stream,), constant(1.0))
        self.eps = eps

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        return rms_norm(x, self.gain.to(x.dtype), self.eps)
