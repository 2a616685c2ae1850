"""Let every channel take a share of the token before.

    y_t = (1 - m) x_t + m x_{t-1}        m a learned share of each channel

Before a channel it is the channel-mix of RWKV: `before_channel(mixer=token_shift, channel=mlp, norm=none)`.

Shapes   x, y (B,T,D)   m (D)
Source   arXiv 2305.13048, 2503.14456    Family  conv
Tags     memory=window, decay=none
Differs  shares are drawn evenly at first (paper: a curve along the channels that depends on the layer)
"""

from typing import Any

from torch import Tensor

from blockyard.core import Call, Site, Sublayer, keep, uniform_in
from blockyard.parts.mixer._shift import before, mixed


class TokenShift(Sublayer):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, time_exponent=1.0)

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.share = site.param("share", (site.stream,), uniform_in(0.0, 1.0))

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        last, tail = before(x, call, state)
        return mixed(x, last, self.share), keep(state, tail=tail)
