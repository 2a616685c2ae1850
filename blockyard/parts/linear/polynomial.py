"""A fixed matrix from a few numbers to a curve: the coefficients of a polynomial become its values over steps.

    y_t = sum_i x_i (t / n)^i        t = 0 .. n-1: the places of what it writes        i = 0, 1, ..: of what it reads

Nothing of it learns, and it adds no bias where a part asks for one: x_0 is one.

Shapes   x (..., reads)   y (..., writes)   basis (writes, reads), kept
Source   arXiv 1905.10437    Family  linear
Differs  nothing known
"""

import torch
from torch import Tensor
from torch.nn.functional import linear

from blockyard.core import Call, Expr, Linear, Site


class Polynomial(Linear):
    claims = dict(per_token=True, row_independent=True)

    def __init__(self, site: Site, reads: Expr, writes: Expr, biased: bool, gain: float) -> None:
        super().__init__()
        self.basis = site.buffer("basis", lambda _: powers(writes.size, reads.size).float(), (writes, reads))

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        return linear(x, self.basis.to(x.dtype))


def powers(steps: int, terms: int) -> Tensor:
    """(steps, terms) float64: the powers 0, 1, .. of evenly spaced places in [0,1)."""
    t = torch.arange(steps, dtype=torch.float64) / steps
    return t[:, None] ** torch.arange(terms, dtype=torch.float64)
