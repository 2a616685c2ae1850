"""Centre and scale all numbers of a row together, tokens and channels; then a gain and a bias for each channel.

    y = g * (x - mean(x)) / sqrt(var(x) + eps) + b        mean, var over the tokens that count and their channels

Shapes   x, y (B,T,D)   g, b (D)
Source   arXiv 1803.08494    Family  norm
Differs  one group
"""

from torch import Tensor

from blockyard.core import Call, Part, Site, constant
from blockyard.core.settings import Eps


class OverRow(Part):
    claims = dict(row_independent=True, scale_invariant=True, bidirectional=True)

    def __init__(self, site: Site, *, eps: Eps = 1e-5) -> None:
        super().__init__()
        self.gain = site.param("gain", (site.stream,), constant(1.0))
        self.bias = site.param("bias", (site.stream,), constant(0.0))
        self.eps = eps

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        over = tuple(range(1, x.dim()))
        if call is None or call.valid is None:
            mean, spread = x.mean(over, keepdim=True), x.var(over, unbiased=False, keepdim=True)
        else:
            count = call.valid.sum(1).clamp(min=1) * x[0, 0].numel()
            count = count.reshape(-1, *[1] * (x.dim() - 1)).to(x.dtype)
            mean = call.zero_invalid(x).sum(over, keepdim=True) / count
            spread = call.zero_invalid(x - mean).square().sum(over, keepdim=True) / count
        return self.gain.to(x.dtype) * (x - mean) * (spread + self.eps).rsqrt() + self.bias.to(x.dtype)
