"""Scale every token to unit length, without a gain.

    y = x / sqrt(sum(x^2) + eps)

Shapes   x, y (..., D)
Source   arXiv 2406.06484    Family  norm
Differs  nothing known
"""

from torch import Tensor

from blockyard.core import Call, Part, Site
from blockyard.core.settings import Eps
from blockyard.kernels import rms_norm


class L2Norm(Part):
    claims = dict(per_token=True, row_independent=True, scale_invariant=True)

    def __init__(self, site: Site, *, eps: Eps = 1e-6) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        width = x.shape[-1]  # the norm of unit mean square, of sqrt(D) times the length
        return rms_norm(x, x.new_full((width,), width**-0.5), self.eps / width)
