"""A gate of each number by its own sigmoid, steeper than silu's.

    y = x sigmoid(slope x)

Shapes   x, y (..., D)
Source   arXiv 1606.08415    Family  activation
Differs  the slope is a setting (paper: 1.702)
"""

from typing import Annotated

from torch import Tensor

from blockyard.core import Call, Part, Site
from blockyard.core.settings import Positive


class MyActivation(Part):
    claims = dict(per_token=True, row_independent=True)

    def __init__(self, site: Site, *, slope: Annotated[Positive, "how steep the gate is"] = 1.702) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        return x * (self.slope * x).sigmoid()
