"""Scale every token to unit root mean square, with a gain that is kept as its distance from one.

    y = (1 + g) * x / sqrt(mean(x^2) + eps)        g = 0 at first

What decays towards zero decays towards a gain of one, and few bits keep gains near one apart.

Shapes   x, y (..., D)   g (D)
Source   arXiv 2403.08295    Family  norm
Differs  nothing known
"""

from torch import Tensor

from blockyard.core import Call, Part, Site, constant, upcast
from blockyard.core.settings import Eps
from blockyard.kernels import rms_norm


class UnitOffsetRMSNorm(Part):
    claims = dict(per_token=True, row_independent=True, scale_invariant=True)

    def __init__(self, site: Site, *, eps: Eps = 1e-6) -> None:
        super().__init__()
        self.gain = site.param("gain", (site.stream,), constant(0.0))
        self.eps = eps

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        gain = 1 + upcast(self.gain)
        if gain.dtype == x.dtype:
            return rms_norm(x, gain, self.eps)
        wide = upcast(x)
        return (gain * wide * (wide.square().mean(-1, keepdim=True) + self.eps).rsqrt()).to(x.dtype)

    def times(self, factor: Tensor) -> dict[str, Tensor]:
        return {"gain": (1 + self.gain) * factor - 1}
