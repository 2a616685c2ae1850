"""The number itself near zero, and never beyond a cap.

    y = cap tanh(x / cap)

Shapes   x, y (..., D)
Source   arXiv 2408.00118    Family  activation
Differs  nothing known
"""

from typing import Annotated

import torch
from torch import Tensor

from blockyard.core import Call, Part, Site
from blockyard.core.settings import Positive


class SoftCap(Part):
    claims = dict(per_token=True, row_independent=True)

    def __init__(self, site: Site, *, cap: Annotated[Positive, "what no number passes"] = 30.0) -> None:
        super().__init__()
        self.cap = cap

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        return self.cap * torch.tanh(x / self.cap)
