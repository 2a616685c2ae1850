"""A fading sum of what each channel reads, opened by a gate.

    h_t = a * h_{t-1} + w_t        y_t = W_o (h_t * silu(g_t))        w, g = rows of W_i x        a = sigmoid(r)

Shapes   x, y (B,T,D)   w, g, h (B,T,E)   r (E)
Source   none    Family  linear
Differs  nothing known
"""

from typing import Annotated, Any

from torch import Tensor
from torch.nn.functional import logsigmoid, silu

from blockyard.core import Call, Cat, Site, Sublayer, keep, leaf, uniform_in, upcast
from blockyard.core.settings import Inner
from blockyard.kernels import diagonal_scan


class MyMixer(Sublayer):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, time_exponent=1.0)
    points = ("write", "context")
    variants = ({}, dict(inner=24))

    def __init__(
        self, site: Site, *, inner: Annotated[Inner, "channels inside; none: the width"] | None = None
    ) -> None:
        super().__init__()
        channels = site.axis("inner", inner or site.stream.size)
        self.layout = Cat(channels, channels)
        self.proj = site.linear("proj", site.stream, self.layout)
        self.rate = site.param("rate", (channels,), uniform_in(0.0, 4.0))
        self.out = site.linear("out", channels, site.stream)

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        w, g = self.layout.split(self.proj(x, call))
        # a token that does not count writes nothing and fades nothing
        w = call.zero_invalid(self.point("write", w, call))
        log_a = call.zero_invalid(logsigmoid(upcast(self.rate)).expand(w.shape))
        h, memory = diagonal_scan(w, log_a, initial_state=leaf(state, "memory"), reset=call.reset)
        return self.out(self.point("context", h * silu(g), call), call), keep(state, memory=memory)
