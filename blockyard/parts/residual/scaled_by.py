"""Scale what a sublayer writes by a number that only the depth decides; with it a stack needs no norm.

    x <- x + s F(N(x))        s = factor / n^power        n: the sublayers that a forward runs

With power 1 and |F| <= B |x| the stream grows by e^B at most, however deep the stack; with 1/2 its variance is bounded
where sublayers are independent; with 0 it may double in every step. s is a tensor that is kept: it stays what it is
where steps are taken out. Output projections start smaller by 1/sqrt(n) in any case.

Shapes   x (B,T,D)   s ()
Source   arXiv 2510.03470    Slug  residual-expansion    Family  residual
Differs  a norm may stand before F; s is a number of single precision
"""

from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core import Call, Residual, Site, Spec
from blockyard.core.settings import NormSpec, Number


class ScaledBy(Residual):
    claims = dict(per_token=True, row_independent=True)
    variants = ({}, dict(factor=0.5, power=0.0, norm="rms"))

    def __init__(
        self, site: Site, *, factor: Annotated[Number, "the scale of a single sublayer"] = 1.0,
        power: Annotated[Number, "the power of the number of sublayers that divides it"] = 1.0,
        norm: Annotated[NormSpec, "the norm of what a sublayer reads"] = Spec("norm", "none"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm = site.build("norm", norm)
        self.strength = site.buffer("strength", lambda _: torch.tensor(factor * float(site.steps) ** -power))

    def read(self, carry: Tensor, ports: tuple[str, ...], call: Call) -> Any:
        return self.norm(carry, call)

    def write(self, carry: Tensor, y: Tensor, call: Call) -> Tensor:
        return carry + self.strength.to(y.dtype) * y
