"""Score the classes of every token.

    s_t = W N(x_t) + b

Shapes   x (B,T,D)   token_classes (B,T,K)
Source   arXiv 1810.04805    Family  head
Differs  the norm stands before the matrix, as with all heads here
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Call, Head, Site, Spec
from blockyard.core.settings import Classes, NormSpec


class TokenClasses(Head):
    says = "token_classes"
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, per_token=True)

    def __init__(
        self, site: Site, *, classes: Classes = 2,
        norm: Annotated[NormSpec, "the norm before the matrix; none: no norm"] | None = Spec("norm", "rms"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm = site.slot("norm", norm)
        self.classes = site.axis("classes", classes)
        self.classes.ordered = True
        self.proj = site.linear("proj", site.stream, self.classes, bias=True)

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[dict[str, Tensor], Call, Any]:
        x = x if self.norm is None else self.norm(x, call)
        return {"token_classes": self.proj(x, call)}, call, state
