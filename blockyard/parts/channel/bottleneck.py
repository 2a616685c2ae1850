"""Narrow each token, activate it, widen it again: it starts by saying nothing.

    y = W_2 act(W_1 x + b_1) + b_2        W_1 ~ U(-1, 1) / sqrt(fan_in),  W_2, b_1, b_2 = 0 at first

With a norm, x is normed first.

Shapes   x, y (B,T,D)   hidden (B,T,F)
Source   arXiv 1902.00751, 2205.13535    Slug  adaptformer    Family  channel
Differs  nothing known
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Call, Site, Spec, Sublayer, constant, uniform_in
from blockyard.core.settings import ActivationSpec, Count, Dropout, NormSpec
from blockyard.kernels import linear


class Bottleneck(Sublayer):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, per_token=True, time_exponent=1.0)
    points = ("hidden",)

    def __init__(
        self, site: Site, *, inner: Annotated[Count, "channels inside"] = 64,
        activation: Annotated[ActivationSpec, "the activation between the two matrices"] = Spec("activation", "relu"),
        norm: Annotated[NormSpec, "the norm of what it reads; none: no norm"] | None = None,
        dropout: Dropout = 0.1,
    ) -> None:  # fmt: skip
        super().__init__()
        stream, hidden, bound = site.stream, site.axis("inner", inner), site.stream.size**-0.5
        self.norm = site.slot("norm", norm)
        self.down = site.param(
            "down", (hidden, stream), uniform_in(-bound, bound), decay=True, reads=stream, writes=hidden
        )  # fmt: skip
        self.down_bias = site.param("down_bias", (hidden,), constant(0.0))
        self.activation = site.slot("activation", activation, on=hidden)
        self.up = site.param("up", (stream, hidden), constant(0.0), decay=True, reads=hidden, writes=stream)
        self.up_bias = site.param("up_bias", (stream,), constant(0.0))
        self.dropout = dropout

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        read = x if self.norm is None else self.norm(x, call)
        hidden = self.point("hidden", self.activation(linear(read, self.down, self.down_bias), call), call)
        return linear(call.dropout(self.path, hidden, self.dropout), self.up, self.up_bias), state
