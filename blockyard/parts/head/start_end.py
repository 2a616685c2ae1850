"""Score every token as the first and as the last one of an answer that stands in the row.

    (s_t, e_t) = W N(x_t) + b

Shapes   x (B,T,D)   span (B,T,2)
Source   arXiv 1810.04805    Family  head
Differs  the norm stands before the matrix, as with all heads here
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Call, Head, Site, Spec
from blockyard.core.settings import NormSpec


class Span(Head):
    says = "span"
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, per_token=True)

    def __init__(
        self, site: Site, *,
        norm: Annotated[NormSpec, "the norm before the matrix; none: no norm"] | None = Spec("norm", "rms"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm = site.slot("norm", norm)
        ends = site.axis("ends", 2)
        ends.ordered, ends.fixed = True, "an answer has a first token and a last one"
        self.proj = site.linear("proj", site.stream, ends, bias=True)

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[dict[str, Tensor], Call, Any]:
        x = x if self.norm is None else self.norm(x, call)
        return {"span": self.proj(x, call)}, call, state
