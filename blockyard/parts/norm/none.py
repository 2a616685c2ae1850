"""No norm: the identity, where a rule asks for one.

    y = x

Shapes   x, y (..., D)
Source   none    Family  norm
Differs  nothing known
"""

from torch import Tensor

from blockyard.core import Call, Part, Site


class NoNorm(Part):
    claims = dict(per_token=True, row_independent=True, identity_at_init=True)

    def __init__(self, site: Site) -> None:
        super().__init__()

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        return x
