"""Normalise what a sublayer reads and what it writes, so that no sublayer writes with unbounded size.

    x <- x + N_out(F(N_in(x)))

Shapes   x (B,T,D)
Source   arXiv 2502.02732, 2105.13290 (sandwich, with layer norms)    Slug  peri-ln    Family  residual
Differs  nothing known
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Call, Residual, Site, Spec
from blockyard.core.settings import NormSpec


class PeriNorm(Residual):
    claims = dict(per_token=True, row_independent=True)

    def __init__(
        self,
        site: Site,
        *,
        norm: Annotated[NormSpec, "the norm of what a sublayer reads, and another of what it writes"] = Spec(
            "norm", "rms"
        ),
    ) -> None:
        super().__init__()
        self.norm_in = site.build("norm_in", norm)
        self.norm_out = site.build("norm_out", norm)

    def read(self, carry: Tensor, ports: tuple[str, ...], call: Call) -> Any:
        return self.norm_in(carry, call)

    def write(self, carry: Tensor, y: Tensor, call: Call) -> Tensor:
        return carry + self.norm_out(y, call)
