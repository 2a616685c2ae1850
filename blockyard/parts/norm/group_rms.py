"""Scale each group of a token's channels to unit root mean square, with a learned gain for every channel.

    y_g = w_g * x_g / sqrt(mean(x_g^2) + eps)        g: the first axis of the product it stands on

Shapes   x, y (..., G E)   w (G E)
Source   arXiv 2405.21060    Family  norm
Differs  nothing known
"""

from torch import Tensor

from blockyard.core import Call, Part, Site, constant
from blockyard.core.settings import Eps
from blockyard.kernels import rms_norm


class GroupRMSNorm(Part):
    claims = dict(per_token=True, row_independent=True, scale_invariant=True)

    def __init__(self, site: Site, *, eps: Eps = 1e-5) -> None:
        super().__init__()
        groups, *rest = site.stream.leaves()
        self.groups = groups if rest else None
        self.gain = site.param("gain", (site.stream,), constant(1.0))
        self.eps = eps

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        if self.groups is None:
            return rms_norm(x, self.gain.to(x.dtype), self.eps)
        gain = self.gain.to(x.dtype).view(self.groups.size, -1)
        return rms_norm(x.unflatten(-1, gain.shape), gain, self.eps).flatten(-2)
