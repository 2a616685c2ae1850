"""The square of what is above zero.

    y = max(x, 0)^2

Shapes   x, y (..., D)
Source   arXiv 2109.08668    Family  activation
Differs  nothing known
"""

from torch import Tensor
from torch.nn.functional import relu

from blockyard.core import Call, Part, Site


class SquaredReLU(Part):
    claims = dict(per_token=True, row_independent=True)

    def __init__(self, site: Site) -> None:
        super().__init__()

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        return relu(x).square()
