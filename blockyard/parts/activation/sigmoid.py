"""A gate between 0 and 1: the logistic function.

    y = 1 / (1 + exp(-x))

Shapes   x, y (..., D)
Source   none    Family  activation
Differs  nothing known
"""

from torch import Tensor

from blockyard.core import Call, Part, Site


class Sigmoid(Part):
    claims = dict(per_token=True, row_independent=True)

    def __init__(self, site: Site) -> None:
        super().__init__()

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        return x.sigmoid()
