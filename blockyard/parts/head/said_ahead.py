"""The forecast is what steps have written into the places behind the window; nothing of it learns.

    y_h = x_{L+h}, scaled back        h = 1..H

Shapes   x (B*K,1,L+H)   forecast (B,H,K)
Source   arXiv 1905.10437    Family  series
Differs  nothing known
"""

from typing import Any

from torch import Tensor

from blockyard.core import Call, Head, Site, UsageError
from blockyard.parts.head import _scale


class SaidAhead(Head):
    says = "forecast"
    around = dict(stem=("history_ahead", {}))
    claims = dict(row_independent=True, bidirectional=True)

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.outputs, self.horizon = _scale.of_stem(site, "outputs"), _scale.of_stem(site, "horizon")
        length = _scale.of_stem(site, "length")
        if length.size + self.horizon.size != site.stream.size:
            raise UsageError(f"{site.path}: reads the places behind a window, which stem:history_ahead lays")

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[dict[str, Tensor], Call, Any]:
        y = _scale.back(x[:, -1:, -self.horizon.size :], call)
        return _scale.forecast(y.unflatten(0, (-1, self.outputs.size))[:, :, 0], ()), call, state
