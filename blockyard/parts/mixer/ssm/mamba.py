"""A diagonal state-space layer whose step and vectors each token sets, inside a gated convolution block.

    dt_t = softplus(dt_proj r_t + dt_bias)        h_t = exp(dt_t A) * h_{t-1} + (dt_t u_t) B_t^T
    o_t = h_t C_t + D * u_t        y_t = W_o (o_t * silu(z_t))
    u, z = silu(conv(W x)), W_z x        r_t, B_t, C_t = N(x_proj u_t)        A = -exp(A_log)

N is a norm of each of the three, where there is one.

Shapes   x (B,T,D)   u, z, dt, o (B,T,E), E = 2 D   B, C (B,T,N)   h (B,E,N)   r (B,T,R)
         A_log (E,N)   dt_proj (E,R)   dt_bias, D (E)
Source   arXiv 2312.00752    Slug  mamba    Family  ssm
Tags     memory=vector, decay=data, update=add
Differs  nothing known
"""

from typing import Annotated, Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from blockyard.core import Call, Cat, Site, Spec, Sublayer, constant, keep, leaf, sub, uniform_in, upcast
from blockyard.core.settings import ConvSpec, Inner, NormSpec, Rank, StateDim
from blockyard.kernels import linear, selective_scan
from blockyard.parts.mixer._gate import gate
from blockyard.parts.mixer._inits import softplus_step


class Mamba(Sublayer):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, time_exponent=1.0)
    points = ("u", "dt", "b", "c", "gate", "context")
    renamed = dict(log_rate="A_log", step="dt_bias", skip="D", select="x_proj", widen="dt_proj")
    variants = ({}, dict(norm="rms"))

    def __init__(
        self, site: Site, *, inner: Annotated[Inner, "channels inside; none: twice the width"] | None = None,
        state: StateDim = 16,
        rank: Annotated[Rank, "channels that steps come from; none: 1/16 of the width, rounded up"] | None = None,
        conv: ConvSpec = Spec("mixer", "short_conv", (("bias", True),)),
        norm: Annotated[NormSpec, "the norm of what steps come from and of both vectors, each; none: no norm"]
        | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        width = site.axis("inner", inner or 2 * site.stream.size)
        channel, thin = site.axis("state", state), site.axis("rank", rank or -(-site.stream.size // 16))
        self.layout, self.selected = Cat(width, width), Cat(thin, channel, channel)
        self.proj = site.linear("proj", site.stream, self.layout)
        self.conv = site.slot("conv", conv, on=width)
        self.x_proj = site.linear("x_proj", width, self.selected)
        self.dt_norm, self.b_norm, self.c_norm = (
            site.slot(name, norm, on=axis)
            for name, axis in (("dt_norm", thin), ("b_norm", channel), ("c_norm", channel))
        )
        start = uniform_in(-(thin.size**-0.5), thin.size**-0.5)
        self.dt_proj = site.param("dt_proj", (width, thin), start, decay=True, reads=thin, writes=width)
        self.dt_bias = site.param("dt_bias", (width,), softplus_step)
        self.A_log = site.param("A_log", (width, channel), _counting)
        self.D = site.param("D", (width,), constant(1.0))
        self.out = site.linear("out", width, site.stream)

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        u, z = self.layout.split(self.proj(x, call))
        u, tail = self.conv(u, call, sub(state, "conv"))
        u = self.point("u", u, call)
        thin, b, c = self.selected.split(self.x_proj(u, call))
        if self.dt_norm is not None:
            thin, b, c = self.dt_norm(thin, call), self.b_norm(b, call), self.c_norm(c, call)
        dt = softplus(upcast(linear(thin, self.dt_proj.to(thin.dtype))) + self.dt_bias)
        dt = self.point("dt", call.zero_invalid(dt), call)  # a step of zero keeps the state as it is
        b, c = self.point("b", b, call), self.point("c", c, call)
        A = -upcast(self.A_log).exp()
        start = leaf(state, "memory")
        o, memory = selective_scan(u, dt, A, b, c, initial_state=start, reset=call.reset)
        o = gate(self, torch.addcmul(o, self.D.to(u.dtype), u), z, call)
        return self.out(self.point("context", o, call), call), keep(state, memory=memory, conv=tail)


def _counting(value: Tensor, rng: torch.Generator) -> None:
    """log(1), log(2), ... along the state: the spectrum of S4D-real."""
    value.copy_(torch.arange(1, value.shape[1] + 1).log().expand_as(value))
