"""Weigh by the normal distribution function, in the tanh form of GPT-2.

    y = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))

Shapes   x, y (..., D)
Source   arXiv 1606.08415    Family  activation
Differs  nothing known
"""

from torch import Tensor
from torch.nn.functional import gelu

from blockyard.core import Call, Part, Site


class GELU(Part):
    claims = dict(per_token=True, row_independent=True)

    def __init__(self, site: Site) -> None:
        super().__init__()

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        return gelu(x, approximate="tanh")
