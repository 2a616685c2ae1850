"""All sublayers of a layer read the stream as the layer found it, and what they write is added together.

    x <- x + F_1(N_1(x)) + F_2(N_2(x)) + ...        one F for each of `every` sublayers

A layer is `every` sublayers, counted from the first step of the model. Whoever looks at the stream inside a layer finds
what has been added so far.

Shapes   x (B,T,D)
Source   arXiv 2204.02311, 2204.06745    Family  residual
Differs  a norm for every sublayer, as in 2204.06745; in 2204.02311 the sublayers of a layer share one
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Call, Residual, Site, Spec
from blockyard.core.settings import Count, NormSpec


class Parallel(Residual):
    claims = dict(per_token=True, row_independent=True)
    variants = ({}, dict(every=3))

    def __init__(
        self, site: Site, *, every: Annotated[Count, "sublayers of a layer"] = 2,
        norm: Annotated[NormSpec, "the norm of what a sublayer reads"] = Spec("norm", "rms"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm = site.build("norm", norm)
        self.last = (site.step + 1) % every == 0

    def start(self, x: Tensor, call: Call) -> Any:
        return x, x

    def read(self, carry: Any, ports: tuple[str, ...], call: Call) -> Any:
        return self.norm(carry[0], call)

    def write(self, carry: Any, y: Tensor, call: Call) -> Any:
        found, total = carry
        total = total + y
        return (total if self.last else found), total

    def flush(self, carry: Any, call: Call) -> Tensor:
        return carry[1]
