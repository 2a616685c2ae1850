"""Centre each group of a token's channels and scale it to unit variance, with a gain for every channel and no bias.

    y_g = g * (x_g - mean(x_g)) / sqrt(var(x_g) + eps)        g: a place of the first axis of the product it stands on

On one axis alone it is layer norm without a bias.

Shapes   x, y (..., G E)   g (G E)
Source   arXiv 2405.04517    Family  norm
Differs  nothing known
"""

from torch import Tensor
from torch.nn.functional import layer_norm

from blockyard.core import Call, Part, Site, constant
from blockyard.core.settings import Eps


class GroupGain(Part):
    claims = dict(per_token=True, row_independent=True, scale_invariant=True)

    def __init__(self, site: Site, *, eps: Eps = 1e-5) -> None:
        super().__init__()
        self.first, *self.rest = site.stream.leaves()
        self.gain = site.param("gain", (site.stream,), constant(1.0))
        self.eps = eps

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        h = x.unflatten(-1, (self.first.size if self.rest else 1, -1))
        return layer_norm(h, h.shape[-1:], None, None, self.eps).flatten(-2) * self.gain.to(x.dtype)
