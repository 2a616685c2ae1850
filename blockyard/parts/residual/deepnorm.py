"""Post-norm whose stream counts for more the deeper a stack is.

    x <- N(a x + F(x))        a = n^(1/4)        n: the sublayers that a forward runs

a is a tensor that is kept: it stays what it is where steps are taken out.

Shapes   x (B,T,D)   a ()
Source   arXiv 2203.00555    Family  residual
Differs  matrices start as they do elsewhere here, outputs at 1/sqrt(n); the paper starts them at (4 n)^(-1/4)
"""

from typing import Annotated

import torch
from torch import Tensor

from blockyard.core import Call, Residual, Site, Spec
from blockyard.core.settings import NormSpec


class DeepNorm(Residual):
    claims = dict(per_token=True, row_independent=True)

    def __init__(
        self, site: Site, *,
        norm: Annotated[NormSpec, "the norm of the stream after each addition"] = Spec("norm", "layer"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm = site.build("norm", norm)
        self.strength = site.buffer("strength", lambda _: torch.tensor(float(site.steps) ** 0.25))

    def write(self, carry: Tensor, y: Tensor, call: Call) -> Tensor:
        return self.norm(self.strength.to(carry.dtype) * carry + y, call)
