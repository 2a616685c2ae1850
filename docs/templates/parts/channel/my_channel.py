"""Widen each token, weigh half of it by the other half's sigmoid, narrow it again.

    y = W_2 (a * sigmoid(b))        a, b = rows of W_1 x

Shapes   x, y (B,T,D)   a, b (B,T,F)
Source   arXiv 2002.05202    Family  channel
Differs  nothing known
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Call, Cat, Site, Sublayer
from blockyard.core.settings import Inner


class MyChannel(Sublayer):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, per_token=True, time_exponent=1.0)
    points = ("hidden",)

    def __init__(
        self, site: Site, *, inner: Annotated[Inner, "channels inside; none: 3 times the width"] | None = None
    ) -> None:
        super().__init__()
        hidden = site.axis("inner", inner or 3 * site.stream.size)
        self.layout = Cat(hidden, hidden)
        self.up = site.linear("up", site.stream, self.layout)
        self.down = site.linear("down", hidden, site.stream)

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        a, b = self.layout.split(self.up(x, call))
        hidden = self.point("hidden", a * b.sigmoid(), call)
        return self.down(hidden, call), state  # a channel keeps nothing: the state goes on as it came
