"""The hyperbolic tangent: as the input near zero, never beyond one.

    y = tanh(x)

Shapes   x, y (..., D)
Source   arXiv 1810.04805    Family  activation
Differs  nothing known
"""

from torch import Tensor

from blockyard.core import Call, Part, Site


class Tanh(Part):
    claims = dict(per_token=True, row_independent=True)

    def __init__(self, site: Site) -> None:
        super().__init__()

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        return x.tanh()
