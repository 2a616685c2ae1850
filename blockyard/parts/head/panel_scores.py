"""A number for each of the series that stand side by side, by the mean of its tokens: what they are ranked by.

    y_s = w . mean_t N(x_st) + b

Shapes   x (B*S,T,D)   panel_scores (B,S)
Source   arXiv 2506.16746    Slug  sspt    Family  series
Differs  nothing known
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Axis, Call, Head, Site, Spec, UsageError
from blockyard.core.settings import NormSpec


class PanelScores(Head):
    says = "panel_scores"
    around = dict(stem=("panel", {}))
    points = ("pooled",)
    claims = dict(row_independent=True, bidirectional=True)

    def __init__(
        self, site: Site, *, norm: Annotated[NormSpec, "the norm before the mean; none: no norm"] | None
        = Spec("norm", "rms"),
    ) -> None:  # fmt: skip
        super().__init__()
        found = site.axis_of("stem.series")
        if found is None:
            raise UsageError(f"{site.path}: series are ranked that stand side by side, and this stem has none")
        self.series, self.norm = found, site.slot("norm", norm)
        self.proj = site.linear("proj", site.stream, Axis("score", 1), bias=True)

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[dict[str, Tensor], Call, Any]:
        x = x if self.norm is None else self.norm(x, call)
        pooled = self.point("pooled", x.mean(1), call)
        return {"panel_scores": self.proj(pooled, call).view(-1, self.series.size)}, call, state
