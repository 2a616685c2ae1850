"""Every token says the segment behind its own, to what earlier stages said of it; the last one's is the forecast.

    f_k = said_k + W N(x_k) + b, scaled back        forecast = f_{n-1}

Segment k+1 of the window is what f_k is to be, so that one pass teaches every token.

Shapes   x (B*K,n,D)   segments (B, n S, K)   forecast (B,S,K)   W (S,D)
Source   arXiv 2402.16516    Slug  gpht    Family  series
Differs  nothing known
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Call, Head, Site
from blockyard.core.settings import NormSpec
from blockyard.parts.head import _scale


class NextSegments(Head):
    says = "forecast"
    claims = dict(row_independent=True, bidirectional=True)
    around = dict(stem=("series_segments", dict(length=24, horizon=6)))
    variants = ({}, dict(norm="layer"))

    def __init__(
        self, site: Site, *,
        norm: Annotated[NormSpec, "the norm of every token before it is read; none: no norm"] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.outputs, self.segment = _scale.of_stem(site, "outputs"), _scale.of_stem(site, "segment")
        self.norm = site.slot("norm", norm)
        self.proj = site.linear("proj", site.stream, self.segment, bias=True)

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[dict[str, Tensor], Call, Any]:
        x = x if self.norm is None else self.norm(x, call)
        y = call.conditions["said"] + self.proj(x, call)
        y = _scale.back(y.flatten(1)[:, None], call)[:, 0].unflatten(0, (-1, self.outputs.size)).transpose(1, 2)
        return {"forecast": y[:, -self.segment.size :], "segments": y}, call, state
