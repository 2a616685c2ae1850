"""Layer norm of tokens whose channels sum to zero, of which the last is left out: nothing has to be centred.

    y = g * x / sqrt((sum x_i^2 + (sum x_i)^2) / (D + 1) + eps)        the channel left out would be - sum x_i

Shapes   x, y (..., D)   g (D)
Source   arXiv 2305.14858    Family  norm
Differs  nothing known
"""

from torch import Tensor

from blockyard.core import Call, Part, Site, constant, upcast
from blockyard.core.settings import Eps


class CompressedRMSNorm(Part):
    claims = dict(per_token=True, row_independent=True, scale_invariant=True)

    def __init__(self, site: Site, *, eps: Eps = 1e-5) -> None:
        super().__init__()
        self.gain = site.param("gain", (site.stream,), constant(1.0))
        self.eps = eps

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        wide = upcast(x)
        squares = wide.square().sum(-1, keepdim=True) + wide.sum(-1, keepdim=True).square()
        root = (squares / (x.shape[-1] + 1) + self.eps).rsqrt()
        return (wide * root).to(x.dtype) * self.gain.to(x.dtype)

    def times(self, factor: Tensor) -> dict[str, Tensor]:
        return {"gain": self.gain * factor}
