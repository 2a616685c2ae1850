"""A learned polynomial of what is above zero.

    r = max(x, 0)        y = a_0 + a_1 r + a_2 r^2 + ... + a_n r^n        a_0 = 0, a_i = 1/n at first

Powers and their sum are in single precision at least. Coefficients are learned without weight decay.

Shapes   x, y (..., D)   a (n+1)
Source   arXiv 2411.03884    Slug  polycom    Family  activation
Differs  nothing known
"""

from typing import Annotated

import torch
from torch import Tensor
from torch.nn.functional import relu

from blockyard.core import Call, Part, Site, upcast
from blockyard.core.settings import Count


class PolyReLU(Part):
    claims = dict(per_token=True, row_independent=True)
    variants = ({}, dict(order=1))

    def __init__(self, site: Site, *, order: Annotated[Count, "the highest power"] = 3) -> None:
        super().__init__()
        powers = site.axis("powers", order + 1)
        powers.fixed = "each place is a power of its own"
        self.coefficients = site.param("coefficients", (powers,), _even)

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        r = upcast(relu(x))
        *lower, y = upcast(self.coefficients)
        for coefficient in reversed(lower):  # by Horner's rule
            y = y * r + coefficient
        return y.to(x.dtype)


def _even(a: Tensor, rng: torch.Generator) -> None:
    """No constant, and all powers count as much."""
    a.fill_(1 / (len(a) - 1))[0] = 0
