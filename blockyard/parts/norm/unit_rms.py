"""Scale every token to unit root mean square, with nothing learned.

    y = x / sqrt(mean(x^2) + eps)

Shapes   x, y (..., D)
Source   arXiv 2410.05355    Family  norm
Differs  nothing known
"""

from torch import Tensor

from blockyard.core import Call, Part, Site
from blockyard.core.settings import Eps
from blockyard.kernels import rms_norm


class UnitRMSNorm(Part):
    claims = dict(per_token=True, row_independent=True, scale_invariant=True)

    def __init__(self, site: Site, *, eps: Eps = 1e-6) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        return rms_norm(x, x.new_full((x.shape[-1],), 1.0), self.eps)
