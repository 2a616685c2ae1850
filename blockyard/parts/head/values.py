"""Normalise the stream and read some numbers off every token.

    y_t = W N(x_t) + b

Shapes   x (B,T,D)   values (B,T,O)
Source   none    Family  head
Differs  nothing known
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Call, Head, Site, Spec
from blockyard.core.settings import Count, NormSpec


class Values(Head):
    says = "values"
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, per_token=True)

    def __init__(
        self, site: Site, *, outputs: Annotated[Count, "numbers a token"] = 1,
        norm: Annotated[NormSpec, "the norm before the numbers; none: no norm"] | None = Spec("norm", "rms"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm = site.slot("norm", norm)
        asked = site.axis("outputs", outputs)
        asked.ordered = True
        self.proj = site.linear("proj", site.stream, asked, bias=True)

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[dict[str, Tensor], Call, Any]:
        x = x if self.norm is None else self.norm(x, call)
        return {"values": self.proj(x, call)}, call, state
