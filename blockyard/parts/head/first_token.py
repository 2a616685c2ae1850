"""Score the classes of a whole row by its first token, which the stem put there to be read.

    s = W N(x_0) + b

Shapes   x (B,T,D)   classes (B,K)
Source   arXiv 1810.04805    Family  head
Differs  nothing known
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Call, Head, Site, Spec
from blockyard.core.settings import Count, NormSpec


class FirstToken(Head):
    says = "classes"
    points = ("pooled",)
    claims = dict(row_independent=True, bidirectional=True)

    def __init__(
        self, site: Site, *, classes: Annotated[Count, "how many there are"] = 2,
        norm: Annotated[NormSpec, "the norm of the token; none: no norm"] | None = Spec("norm", "layer"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm = site.slot("norm", norm)
        self.classes = site.axis("classes", classes)
        self.classes.ordered = True
        self.proj = site.linear("proj", site.stream, self.classes, bias=True)

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[dict[str, Tensor], Call, Any]:
        first = self.point("pooled", x[:, 0], call)
        return {"classes": self.proj(first if self.norm is None else self.norm(first, call), call)}, call, state
