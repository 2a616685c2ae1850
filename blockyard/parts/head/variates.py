"""Map every token, a variable's, to its steps ahead; variables that are not asked for are left out.

    y_c = W N(x_c) + b, scaled back        c = 1..K

With levels it says a quantile for each of them, and as the forecast the one nearest to the median.

Shapes   x (B,C,D)   forecast (B,H,K)   quantiles (B,H,K,Q)   W (H,D), of Q levels (QH,D)
Source   arXiv 2310.06625    Slug  itransformer    Family  series
Differs  nothing known
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Call, Head, Site, Spec, UsageError
from blockyard.core.settings import Horizon, Levels, NormSpec
from blockyard.parts.head import _scale


class Variates(Head):
    says = "forecast"
    around = dict(stem=("variates", {}))
    claims = dict(row_independent=True, bidirectional=True)
    variants = ({}, dict(horizon=5, levels=(0.1, 0.5, 0.9)))

    def __init__(
        self, site: Site, *, horizon: Horizon = 96, levels: Levels = (),
        norm: Annotated[NormSpec, "the norm of every token before it is read; none: no norm"] | None
        = Spec("norm", "rms"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.outputs, self.variates = _scale.of_stem(site, "outputs"), _scale.of_stem(site, "variates")
        self.horizon, self.levels = site.axis("horizon", horizon), _scale.rising(site, levels)
        self.horizon.ordered = True
        self.norm = site.slot("norm", norm)
        self.proj = site.linear("proj", site.stream, _scale.said(site, self.horizon, self.levels), bias=True)

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[dict[str, Tensor], Call, Any]:
        if x.shape[1] != self.variates.size:
            raise UsageError(
                f"{self.path} reads the {self.variates.size} variables of its stem, not {x.shape[1]} tokens"
            )
        x = x[:, : self.outputs.size]
        x = x if self.norm is None else self.norm(x, call)
        return _scale.forecast(_scale.back(self.proj(x, call), call), self.levels), call, state
