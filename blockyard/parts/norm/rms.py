"""Scale every token to unit root mean square, with a learned gain.

    y = g * x / sqrt(mean(x^2) + eps)

Shapes   x, y (..., D)   g (D)
Source   arXiv 1910.07467    Family  norm
Differs  nothing known
"""

from torch import Tensor

from blockyard.core import Call, Part, Site, constant, upcast
from blockyard.core.settings import Eps
from blockyard.kernels import rms_norm


class RMSNorm(Part):
    claims = dict(per_token=True, row_independent=True, scale_invariant=True)
    points = ("scale",)

    def __init__(self, site: Site, *, eps: Eps = 1e-5) -> None:
        super().__init__()
        self.gain = site.param("gain", (site.stream,), constant(1.0))
        self.eps = eps

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        if self.asked(call, "scale"):  # (..., 1) what x is divided by; the kernel keeps it to itself
            scale = (upcast(x).square().mean(-1, keepdim=True) + self.eps).sqrt()
            return self.gain.to(x.dtype) * x / self.point("scale", scale.to(x.dtype), call)
        return rms_norm(x, self.gain.to(x.dtype), self.eps)

    def times(self, factor: Tensor) -> dict[str, Tensor]:
        return {"gain": self.gain * factor}
