"""A projection that stays as it is, and a learned factor for each number that it writes, or for each that it reads.

    y = l * F(x)        of `reads`:  y = F(l * x)        l = 1 at first

F is any projection. Where F is a matrix, the factors can be merged into its rows (and its bias), or its columns.

Shapes   x (..., reads)   y (..., writes)   l (writes), or (reads)
Source   arXiv 2205.05638    Family  linear
Differs  queries, keys and values that are one projection all get factors (paper: keys and values)
"""

from typing import Annotated, Literal

from torch import Tensor

from blockyard.core import Call, Expr, Linear, Site, Spec, UsageError, constant
from blockyard.core.part import Merged
from blockyard.core.settings import LinearSpec


class IA3(Linear):
    claims = dict(per_token=True, row_independent=True)
    points = ("scaled",)
    attached_to = "base"
    variants = ({}, dict(side="reads"))

    def __init__(
        self, site: Site, reads: Expr, writes: Expr, biased: bool, gain: float, *,
        side: Annotated[Literal["writes", "reads"], "whose numbers are scaled: those it writes, or those it reads"]
        = "writes",
        base: Annotated[LinearSpec, "what it is attached to"] = Spec("linear", "dense"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.base, self.side = site.build("base", base, reads, writes, biased, gain), side
        self.scale = site.param("scale", (writes if side == "writes" else reads,), constant(1.0))

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        if self.side == "reads":
            return self.base(self.point("scaled", x * self.scale, call), call)
        return self.point("scaled", self.base(x, call) * self.scale, call)

    def merged(self) -> Merged:
        if not isinstance(self.base, Linear):
            raise UsageError(f"{self.path}: linear:{self.base.spec.name} does not say how a matrix is scaled")
        if self.side == "reads":
            return self.base.become(self.base.matrix() * self.scale)
        return self.base.become(self.base.matrix() * self.scale[:, None], self.scale)
