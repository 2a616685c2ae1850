"""Every token reads earlier ones as they are, weighed by the softmax of a form of the two tokens.

    y_t = sum_s softmax_s(x_t^T W x_s) x_s        s visible to t        W = 0 at first: all count alike

On one-hot tokens W_ml is the score that a query m gives to a token l, and y_t says how much attention each token gets:
the form in which the learning of attention is studied.

Shapes   x, y (B,T,D)   W (D,D)
Source   arXiv 2305.16380    Slug  scan-and-snap    Family  softmax
Tags     memory=keys, decay=none
Differs  a token may read itself
"""

from typing import Any

from torch import Tensor

from blockyard.core import Call, Site, Spec, Sublayer
from blockyard.parts.mixer._past import INSIDE, attend_past, attend_shown


class Bilinear(Sublayer):
    claims = dict(
        causal=True, streams=True, packs=True, row_independent=True, bidirectional=True, any_order=True,
        time_exponent=2.0,
    )  # fmt: skip
    points = ("q", "scores", "weights")

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.form = site.linear("form", site.stream, site.stream, gain=0.0)
        self.weigh = site.build("weigh", Spec("weigh", "softmax"))

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        q, x = self.point("q", self.form(x, call), call)[:, :, None], x[:, :, None]
        given = (q, x, x, state, call, None, None)
        if self.asked(call, *INSIDE):
            y, state = attend_shown(self, *given, self.weigh, 1.0)
        else:
            y, state = attend_past(*given, 1.0)
        return y.flatten(2), state
