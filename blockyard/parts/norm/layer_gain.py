"""Centre every token and scale it to unit variance, with a learned gain and nothing added.

    y = g * (x - mean(x)) / sqrt(var(x) + eps)

Shapes   x, y (..., D)   g (D)
Source   arXiv 1607.06450, 2412.13663    Family  norm
Differs  nothing known
"""

from torch import Tensor
from torch.nn.functional import layer_norm

from blockyard.core import Call, Part, Site, constant
from blockyard.core.settings import Eps


class LayerGain(Part):
    claims = dict(per_token=True, row_independent=True, scale_invariant=True)

    def __init__(self, site: Site, *, eps: Eps = 1e-5) -> None:
        super().__init__()
        self.gain = site.param("gain", (site.stream,), constant(1.0))
        self.eps = eps

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        return layer_norm(x, self.gain.shape, self.gain.to(x.dtype), None, self.eps)

    def times(self, factor: Tensor) -> dict[str, Tensor]:
        return {"gain": self.gain * factor}
