"""The number itself above zero; below, a curve that falls off to a floor.

    y = x for x > 0, else a (exp(x) - 1)

Shapes   x, y (..., D)
Source   arXiv 1511.07289    Family  activation
Differs  nothing known
"""

from typing import Annotated

from torch import Tensor
from torch.nn.functional import elu

from blockyard.core import Call, Part, Site
from blockyard.core.settings import Positive


class ELU(Part):
    unrecorded = "a curve below zero alone is no instruction yet"
    claims = dict(per_token=True, row_independent=True)

    def __init__(self, site: Site, *, floor: Annotated[Positive, "no number falls below its negative"] = 1.0) -> None:
        super().__init__()
        self.floor = floor

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        return elu(x, self.floor)
