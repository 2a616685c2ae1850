"""Normalise what a sublayer reads and scale what it writes, channel by channel, by a learned gain that starts small.

    x <- x + g * F(N(x))

Shapes   x (B,T,D)   g (D)
Source   arXiv 2103.17239    Family  residual
Differs  nothing known
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Call, Residual, Site, Spec, constant
from blockyard.core.settings import NormSpec, Number


class Scaled(Residual):
    claims = dict(per_token=True, row_independent=True)

    def __init__(
        self,
        site: Site,
        *,
        norm: Annotated[NormSpec, "the norm of what a sublayer reads"] = Spec("norm", "rms"),
        start: Annotated[Number, "what the gain is at first"] = 0.1,
    ) -> None:
        super().__init__()
        self.norm = site.build("norm", norm)
        self.gain = site.param("gain", (site.stream,), constant(start))

    def read(self, carry: Tensor, ports: tuple[str, ...], call: Call) -> Any:
        return self.norm(carry, call)

    def write(self, carry: Tensor, y: Tensor, call: Call) -> Tensor:
        return carry + self.gain.to(y.dtype) * y
