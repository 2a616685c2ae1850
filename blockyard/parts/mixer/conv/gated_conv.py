"""A short convolution between two gates, each of which a token's own channels set by a product alone.

    b, c, u = W x        y = W_o (c * conv(b * u))

No activation: a gate is a plain factor, and a token reads the last few tokens and nothing before them.

Shapes   x, y (B,T,D)   b, c, u (B,T,E), E = D
Source   arXiv 2511.23404    Family  conv
Tags     memory=window, decay=none
Differs  nothing known
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Call, Cat, Site, Spec, Sublayer, keep, sub
from blockyard.core.settings import Inner, MixerSpec


class GatedConv(Sublayer):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, time_exponent=1.0)
    points = ("in_gate", "out_gate", "context")

    def __init__(
        self, site: Site, *, inner: Annotated[Inner, "channels inside; none: the width"] | None = None,
        conv: Annotated[MixerSpec, "the convolution between the gates"] = Spec(
            "mixer", "short_conv", (("activation", None), ("width", 3))
        ),
    ) -> None:  # fmt: skip
        super().__init__()
        width = site.axis("inner", inner or site.stream.size)
        self.layout = Cat(width, width, width)
        self.proj = site.linear("proj", site.stream, self.layout)
        self.conv = site.slot("conv", conv, on=width)
        self.out = site.linear("out", width, site.stream)

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        b, c, u = self.layout.split(self.proj(x, call))
        u, tail = self.conv(self.point("in_gate", b, call) * u, call, sub(state, "conv"))
        context = self.point("context", self.point("out_gate", c, call) * u, call)
        return self.out(context, call), keep(state, conv=tail)
