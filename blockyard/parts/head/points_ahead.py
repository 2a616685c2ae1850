"""Read the tokens of the steps ahead, the last ones of a row, and map each to its variables; all others are left out.

    y_h = W N(x_(L+h)) + b, scaled back        h = 1..H

With levels it says a quantile for each of them, and as the forecast the one nearest to the median.

Shapes   x (B,L+H,D)   forecast (B,H,K)   quantiles (B,H,K,Q)   W (K,D), of Q levels (QK,D)
Source   arXiv 2012.07436, 2202.07125    Slug  time-series-survey    Family  series
Differs  nothing known
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Call, Head, Site, Spec, UsageError
from blockyard.core.settings import Levels, NormSpec
from blockyard.parts.head import _scale


class PointsAhead(Head):
    says = "forecast"
    around = dict(stem=("time_points", dict(length=24, horizon=6)))
    claims = dict(row_independent=True, bidirectional=True)
    variants = ({}, dict(levels=(0.1, 0.5, 0.9)))

    def __init__(
        self, site: Site, *, levels: Levels = (),
        norm: Annotated[NormSpec, "the norm of every token before it is read; none: no norm"] | None
        = Spec("norm", "rms"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.outputs, self.horizon = _scale.of_stem(site, "outputs"), _scale.of_stem(site, "horizon")
        self.levels = _scale.rising(site, levels)
        self.norm = site.slot("norm", norm)
        self.proj = site.linear("proj", site.stream, _scale.said(site, self.outputs, self.levels), bias=True)

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[dict[str, Tensor], Call, Any]:
        if x.shape[1] <= self.horizon.size:
            raise UsageError(f"{self.path} reads the last {self.horizon.size} tokens of its stem's, not {x.shape[1]}")
        x = x[:, -self.horizon.size :]
        y = self.proj(x if self.norm is None else self.norm(x, call), call)
        y = y.unflatten(-1, (max(1, len(self.levels)), -1)).permute(0, 3, 2, 1).flatten(2)  # (B,K,QH)
        return _scale.forecast(_scale.back(y, call), self.levels), call, state
