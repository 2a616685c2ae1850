"""Centre every token, scale it to unit variance, with a learned gain and bias.

    y = g * (x - mean(x)) / sqrt(var(x) + eps) + b

Shapes   x, y (..., D)   g, b (D)
Source   arXiv 1607.06450    Family  norm
Differs  nothing known
"""

from torch import Tensor
from torch.nn.functional import layer_norm

from blockyard.core import Call, Part, Site, constant, upcast
from blockyard.core.settings import Eps


class LayerNorm(Part):
    claims = dict(per_token=True, row_independent=True, scale_invariant=True)
    points = ("scale",)

    def __init__(self, site: Site, *, eps: Eps = 1e-5) -> None:
        super().__init__()
        self.gain = site.param("gain", (site.stream,), constant(1.0))
        self.bias = site.param("bias", (site.stream,), constant(0.0))
        self.eps = eps

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        if self.asked(call, "scale"):  # (..., 1) what x, centred, is divided by; the kernel keeps it to itself
            wide = upcast(x)
            scale = (wide.var(-1, keepdim=True, correction=0) + self.eps).sqrt().to(x.dtype)
            centred = (wide - wide.mean(-1, keepdim=True)).to(x.dtype)
            return self.gain.to(x.dtype) * centred / self.point("scale", scale, call) + self.bias.to(x.dtype)
        return layer_norm(x, self.gain.shape, self.gain.to(x.dtype), self.bias.to(x.dtype), self.eps)

    def times(self, factor: Tensor) -> dict[str, Tensor]:
        return {"gain": self.gain * factor, "bias": self.bias * factor}
