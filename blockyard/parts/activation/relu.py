"""Zero below zero.

    y = max(x, 0)

Shapes   x, y (..., D)
Source   arXiv 1803.08375    Family  activation
Differs  nothing known
"""

from torch import Tensor
from torch.nn.functional import relu

from blockyard.core import Call, Part, Site


class ReLU(Part):
    claims = dict(per_token=True, row_independent=True)

    def __init__(self, site: Site) -> None:
        super().__init__()

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        return relu(x)
