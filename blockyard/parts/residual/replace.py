"""A sublayer reads the stream as it stands and what it writes becomes the stream.

    x <- F(x)

For what turns the stream itself, such as channel:rotate, between sublayers of another rule.

Shapes   x (B,T,D)
Source   arXiv 2604.14430    Slug  three-phase    Family  residual
Differs  nothing known
"""

from torch import Tensor

from blockyard.core import Call, Residual, Site


class Replace(Residual):
    claims = dict(per_token=True, row_independent=True)

    def __init__(self, site: Site) -> None:
        super().__init__()

    def write(self, carry: Tensor, y: Tensor, call: Call) -> Tensor:
        return y
