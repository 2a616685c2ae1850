"""A gated recurrence, channel by channel, whose gate has a floor that rises with depth.

    f_t = g_l + (1 - g_l) sigmoid(W_f x_t)        h_t = f_t * h_{t-1} + (1 - f_t) * silu(W_i x_t)
    y_t = W_o (N(h_t) * silu(W_g x_t))
    g_l = sum over layers before l of softmax over layers (G): grows with depth, 0 at the first

Shapes   x (B,T,D)   i, f, g, h (B,T,E), E = D   G (layers, E), shared by all layers
Source   arXiv 2311.04823    Slug  hybrid-linear-attention    Family  linear
Tags     memory=vector, decay=data, update=add
Differs  real states (paper: complex, each channel also rotated by a learned angle)
"""

from typing import Annotated, Any

from torch import Tensor
from torch.nn.functional import silu

from blockyard.core import Call, Cat, Site, Spec, Sublayer, keep, leaf
from blockyard.core.settings import Inner, NormSpec
from blockyard.kernels import diagonal_scan
from blockyard.parts.mixer._floor import floor, log_keep, rest, shared_floors
from blockyard.parts.mixer._gate import gate


class HGRN(Sublayer):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, time_exponent=1.0)
    points = ("v", "decay", "gate", "context")

    def __init__(
        self, site: Site, *, inner: Annotated[Inner, "channels inside; none: the width"] | None = None,
        norm: Annotated[NormSpec, "the norm of the hidden channels"] = Spec("norm", "rms"),
    ) -> None:  # fmt: skip
        super().__init__()
        width = site.axis("inner", inner or site.stream.size)
        self.layout = Cat(width, width, width)
        self.proj = site.linear("proj", site.stream, self.layout)
        self.bounds = shared_floors(site, "hgrn", width)
        self.norm = site.slot("norm", norm, on=width)
        self.out = site.linear("out", width, site.stream)
        self.ordinal = site.ordinal

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        v, f, g = self.layout.split(self.proj(x, call))
        decay = self.point("decay", log_keep(floor(self.bounds, self.ordinal), f), call)
        v = self.point("v", silu(v), call)
        write = call.zero_invalid(rest(decay).to(v.dtype) * v)
        start = leaf(state, "memory")
        h, memory = diagonal_scan(write, call.zero_invalid(decay), initial_state=start, reset=call.reset)
        o = gate(self, self.norm(h, call), g, call)
        return self.out(self.point("context", o, call), call), keep(state, memory=memory)
