"""A fixed matrix from a few numbers to a curve: the coefficients of a Fourier series become its values over steps.

    y_t = sum_i x_i cos(2 pi i t / n) + x'_i sin(2 pi i t / n)        t = 0 .. n-1: the places of what it writes

The first half of what it reads are the x_i, the second the x'_i, both from i = 0 on; so x'_0 says nothing. Nothing of
it learns, and it adds no bias where a part asks for one.

Shapes   x (..., reads)   y (..., writes)   basis (writes, reads), kept
Source   arXiv 1905.10437    Family  linear
Differs  of an odd number of coefficients the one in the middle is a cosine's (paper: left out)
"""

from math import pi

import torch
from torch import Tensor
from torch.nn.functional import linear

from blockyard.core import Call, Expr, Linear, Site


class Fourier(Linear):
    claims = dict(per_token=True, row_independent=True)

    def __init__(self, site: Site, reads: Expr, writes: Expr, biased: bool, gain: float) -> None:
        super().__init__()
        self.basis = site.buffer("basis", lambda _: waves(writes.size, reads.size).float(), (writes, reads))

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        return linear(x, self.basis.to(x.dtype))


def waves(steps: int, terms: int) -> Tensor:
    """(steps, terms) float64: cosines of 0, 1, .. whole turns over the steps, then as many sines."""
    turns = 2 * pi * torch.arange(steps, dtype=torch.float64) / steps
    cosines = torch.arange(terms - terms // 2, dtype=torch.float64)
    return torch.cat([(turns[:, None] * cosines).cos(), (turns[:, None] * cosines[: terms // 2]).sin()], 1)
