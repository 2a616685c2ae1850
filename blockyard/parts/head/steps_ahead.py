"""Read all tokens of a row side by side and map them to the steps ahead; each row is a variable.

    y = W [N(x_1) .. N(x_n)] + b, scaled back

With levels it says a quantile for each of them, and as the forecast the one nearest to the median.

Shapes   x (B*K,n,D)   forecast (B,H,K)   quantiles (B,H,K,Q)   W (H,nD), of Q levels (QH,nD)
Source   arXiv 2211.14730, 1711.11053    Family  series
Differs  nothing known
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Call, Head, Prod, Site, Spec, UsageError
from blockyard.core.settings import Horizon, Levels, NormSpec, Positive
from blockyard.parts.head import _scale


class StepsAhead(Head):
    says = "forecast"
    around = dict(stem=("series_patches", {}))
    claims = dict(row_independent=True, bidirectional=True)
    variants = ({}, dict(horizon=5, levels=(0.1, 0.5, 0.9)))

    def __init__(
        self, site: Site, *, horizon: Horizon = 96, levels: Levels = (),
        norm: Annotated[NormSpec, "the norm of every token before they are read; none: no norm"] | None
        = Spec("norm", "rms"),
        gain: Annotated[Positive, "the deviation of its first numbers, times the root of what it reads"] = 1.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.outputs, self.tokens = _scale.of_stem(site, "outputs"), _scale.of_stem(site, "tokens")
        self.horizon, self.levels = site.axis("horizon", horizon), _scale.rising(site, levels)
        self.horizon.ordered = True
        self.norm = site.slot("norm", norm)
        said = _scale.said(site, self.horizon, self.levels)
        self.proj = site.linear("proj", Prod(self.tokens, site.stream), said, bias=True, gain=gain)

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[dict[str, Tensor], Call, Any]:
        if x.shape[1] != self.tokens.size:
            raise UsageError(f"{self.path} reads the {self.tokens.size} tokens of its stem, not {x.shape[1]}")
        x = x if self.norm is None else self.norm(x, call)
        y = _scale.back(self.proj(x.flatten(1), call)[:, None], call)
        return _scale.forecast(y.unflatten(0, (-1, self.outputs.size))[:, :, 0], self.levels), call, state
