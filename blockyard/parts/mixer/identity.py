"""Every token is handed on as it is: what a skeleton does without a mixer.

    y_t = x_t

Shapes   x, y (B,T,D)
Source   arXiv 2111.11418    Family  floor
Tags     memory=none, decay=none
Differs  nothing known
"""

from typing import Any

from torch import Tensor

from blockyard.core import Call, Site, Sublayer


class Identity(Sublayer):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, per_token=True, time_exponent=1.0)

    def __init__(self, site: Site) -> None:
        super().__init__()

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        return x, state
