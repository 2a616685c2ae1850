"""A learned sum of a token's powers, each of them scaled to unit root mean square over its channels.

    y = b + sum_i w_i x^i / sqrt(mean(x^2i) + eps)        i = 1 ... n        w_i = 1/n, b = 0 at first

Powers, means and their sum are in single precision at least: x^6 leaves what half precision holds. Coefficients are
learned without weight decay.

Shapes   x, y (..., D)   w (n), the linear term first   b ()
Source   arXiv 2411.03884    Slug  polycom    Family  activation
Differs  divides by the root mean square, as the released code does (paper: by the norm, sqrt(D) times as large); w runs
         from the linear term up (released code: from the cube down)
"""

from typing import Annotated

from torch import Tensor

from blockyard.core import Call, Part, Site, constant, upcast
from blockyard.core.settings import Count, Eps


class PolyNorm(Part):
    claims = dict(per_token=True, row_independent=True, scale_invariant=True)
    variants = ({}, dict(order=1))

    def __init__(
        self, site: Site, *, order: Annotated[Count, "the highest power"] = 3,
        eps: Annotated[Eps, "added to the mean of each squared power, under the root"] = 1e-6,
    ) -> None:  # fmt: skip
        super().__init__()
        powers = site.axis("powers", order)
        powers.fixed = "each place is a power of its own"
        self.weight = site.param("weight", (powers,), constant(1 / powers.size))
        self.bias = site.param("bias", (), constant(0.0))
        self.eps = eps

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        wide = power = upcast(x)
        first, *rest = upcast(self.weight)
        y = first * self._unit(power) + upcast(self.bias)
        for weight in rest:
            power = power * wide
            y = y + weight * self._unit(power)
        return y.to(x.dtype)

    def _unit(self, power: Tensor) -> Tensor:
        return power * (power.square().mean(-1, keepdim=True) + self.eps).rsqrt()
