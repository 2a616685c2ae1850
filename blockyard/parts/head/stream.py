"""Normalise the stream and give it as it is, for another model to read.

    y_t = N(x_t)

Shapes   x, y (B,T,D)
Source   arXiv 1706.03762    Family  head
Differs  nothing known
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Call, Head, Site, Spec
from blockyard.core.settings import NormSpec


class Stream(Head):
    says = "stream"
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, per_token=True)

    def __init__(
        self, site: Site, *,
        norm: Annotated[NormSpec, "the norm before it is given; none: no norm"] | None = Spec("norm", "rms"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm = site.slot("norm", norm)

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[dict[str, Tensor], Call, Any]:
        return {"stream": x if self.norm is None else self.norm(x, call)}, call, state
