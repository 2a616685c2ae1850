"""Score the classes of a whole row by the mean of its tokens, normalised after it was taken.

    s = W N(mean_t x_t) + b        over the tokens that count

Shapes   x (B,T,D)   classes (B,K)
Source   arXiv 2201.03545    Family  head
Differs  nothing known
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Call, Head, Site, Spec
from blockyard.core.settings import Classes, NormSpec


class PooledClasses(Head):
    says = "classes"
    claims = dict(row_independent=True, bidirectional=True)

    def __init__(
        self, site: Site, *, classes: Classes = 2,
        norm: Annotated[NormSpec, "the norm of the mean; none: no norm"] | None = Spec("norm", "layer"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm = site.slot("norm", norm)
        self.classes = site.axis("classes", classes)
        self.classes.ordered = True
        self.proj = site.linear("proj", site.stream, self.classes, bias=True)

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[dict[str, Tensor], Call, Any]:
        count = x.shape[1] if call.valid is None else call.valid.sum(1, keepdim=True).clamp(min=1)
        mean = call.zero_invalid(x).sum(1) / count
        mean = mean if self.norm is None else self.norm(mean, None)
        return {"classes": self.proj(mean, call)}, call, state
