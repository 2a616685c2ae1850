"""Read some numbers off a whole row, by the mean of its tokens.

    y = W mean_t N(x_t) + b        over the tokens that count

Shapes   x (B,T,D)   row_values (B,O)
Source   none    Family  head
Differs  nothing known
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Call, Head, Site, Spec
from blockyard.core.settings import Count, NormSpec


class RowValues(Head):
    says = "row_values"
    points = ("pooled",)
    claims = dict(row_independent=True, bidirectional=True)

    def __init__(
        self, site: Site, *, outputs: Annotated[Count, "numbers a row"] = 1,
        norm: Annotated[NormSpec, "the norm before the mean; none: no norm"] | None = Spec("norm", "rms"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm = site.slot("norm", norm)
        asked = site.axis("outputs", outputs)
        asked.ordered = True
        self.proj = site.linear("proj", site.stream, asked, bias=True)

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[dict[str, Tensor], Call, Any]:
        x = x if self.norm is None else self.norm(x, call)
        total = call.zero_invalid(x).sum(1)
        count = x.shape[1] if call.valid is None else call.valid.sum(1, keepdim=True).clamp(min=1)
        return {"row_values": self.proj(self.point("pooled", total / count, call), call)}, call, state
