"""Weigh by the logistic function.

    y = x / (1 + exp(-x))

Shapes   x, y (..., D)
Source   arXiv 1702.03118    Family  activation
Differs  nothing known
"""

from torch import Tensor
from torch.nn.functional import silu

from blockyard.core import Call, Part, Site
from blockyard.kernels import swiglu


class SiLU(Part):
    claims = dict(per_token=True, row_independent=True)

    def __init__(self, site: Site) -> None:
        super().__init__()

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        return silu(x)

    def gated(self, h: Tensor) -> Tensor:
        """act(g) x of h = [g | x] (..., 2D), in one pass."""
        return swiglu(h)
