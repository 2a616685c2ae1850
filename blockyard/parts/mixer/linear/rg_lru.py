"""A gated recurrence, channel by channel, beside a second branch that gates it; its gates come from runs of channels.

    u = conv(W_u x)        r_t, i_t = sigmoid(W_r u_t + b_r), sigmoid(W_i u_t + b_i)        W_r, W_i block by block
    log a_t = -c r_t softplus(rate)        h_t = a_t h_{t-1} + s_t i_t u_t
    s_t = sqrt(1 - a_t^2), 1 at a first token
    y_t = W_o (h_t * act(W_y x_t))

With s the memory is as large as what it reads, whatever the decay.

Shapes   x (B,T,D)   u, r, i, h (B,T,E), E = D, in H runs of P   W_r, W_i (H P, P)   rate, b_r, b_i (E)
Source   arXiv 2402.19427    Family  linear
Tags     memory=vector, decay=data, update=add
Differs  nothing known
"""

from typing import Annotated, Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from blockyard.core import Call, Cat, Prod, Site, Spec, Sublayer, constant, keep, leaf, normal, sub, upcast
from blockyard.core.settings import ActivationSpec, ConvSpec, Heads, Inner, Positive
from blockyard.kernels import diagonal_scan, linear


class RGLRU(Sublayer):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, time_exponent=1.0)
    points = ("v", "decay", "gate", "context")

    def __init__(
        self, site: Site, *, inner: Annotated[Inner, "channels inside; none: the width"] | None = None,
        heads: Annotated[Heads, "runs of channels, each of which sets its own gates"] = 4,
        sharp: Annotated[Positive, "c: how many times its rate a channel fades where its gate is open"] = 8.0,
        conv: ConvSpec = Spec("mixer", "short_conv", (("activation", None), ("bias", True))),
        activation: Annotated[ActivationSpec, "the activation of the other branch"] = Spec("activation", "gelu"),
    ) -> None:  # fmt: skip
        super().__init__()
        size = inner or site.stream.size
        head = site.axis("heads", heads)
        own = site.axis("head_dim", lambda: site.divide("heads", size, heads))
        width, read = Prod(head, own), site.axis("read", own.size)
        for axis in (head, own, read):
            axis.fixed = "its runs of channels have matrices of their own"
        self.layout = Cat(width, width)
        self.proj = site.linear("proj", site.stream, self.layout)
        self.conv = site.slot("conv", conv, on=width)
        start = normal(own.size**-0.5)
        use: dict[str, Any] = dict(decay=True, reads=width, writes=width)
        self.keep_in = site.param("keep_in", (width, read), start, **use)
        self.keep_bias = site.param("keep_bias", (width,), constant(0.0))
        self.write_in = site.param("write_in", (width, read), start, **use)
        self.write_bias = site.param("write_bias", (width,), constant(0.0))
        self.rate = site.param("rate", (width,), _kept_in(0.9, 0.999))
        self.activation = site.slot("activation", activation, on=width)
        self.out = site.linear("out", width, site.stream)
        self.heads, self.sharp = head, sharp

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        u, g = (each.flatten(2) for each in self.layout.split(self.proj(x, call)))
        u, tail = self.conv(u, call, sub(state, "conv"))
        kept = (self._gate(u, self.keep_in) + self.keep_bias).sigmoid()
        decay = self.point("decay", -self.sharp * softplus(upcast(self.rate)) * kept, call)
        v = (self._gate(u, self.write_in) + self.write_bias).sigmoid() * _level(decay, call)
        v = self.point("v", u * v.to(u.dtype), call)
        start = leaf(state, "memory")
        write, fade = call.zero_invalid(v), call.zero_invalid(decay)
        h, memory = diagonal_scan(write, fade, initial_state=start, reset=call.reset)
        y = h * self.point("gate", self.activation(g, call), call)
        return self.out(self.point("context", y, call), call), keep(state, memory=memory, conv=tail)

    def _gate(self, u: Tensor, matrix: Tensor) -> Tensor:
        """(B,T,E) of u (B,T,E), each run of channels by its own rows."""
        size = matrix.shape[1]
        runs = zip(u.split(size, -1), matrix.to(u.dtype).split(size))
        return upcast(torch.cat([linear(run, rows) for run, rows in runs], -1))


def _level(decay: Tensor, call: Call) -> Tensor:
    """sqrt(1 - a^2) of log a, and 1 at the first token of a document, before which nothing is remembered."""
    first = (call.positions == 0).to(decay.dtype)[..., None]
    scale = (-(2 * decay).expm1()).clamp(min=1e-30).log().mul(0.5).exp()
    return scale * (1 - first) + first


def _kept_in(low: float, high: float) -> Any:
    """A rate at which a channel keeps as much in a step with an open gate, drawn evenly in its square."""

    def fill(value: Tensor, rng: torch.Generator) -> None:
        value.uniform_(low**2, high**2, generator=rng).log_().mul_(-0.5)
        value.copy_(value.expm1().log())

    return fill
