"""A state-space layer with one scalar decay per head: the dual of masked linear attention.

    dt_t = softplus(W x_t + dt_bias)        a_t = exp(-exp(A_log) dt_t)
    h_t = a_t h_{t-1} + B_t (dt_t u_t)^T        o_t = h_t^T C_t + D u_t
    u, B, C = silu(conv(W x))        y_t = W_o N(o_t * silu(z_t)), N in each group

Where there is a norm before the gate, it stands in the place of o_t.

Shapes   x (B,T,D)   u, z, o (B,T,H,P), H P = inner   B, C (B,T,G,N)   dt (B,T,H)   h (B,H,N,P)
         A_log, dt_bias, D (H)
Source   arXiv 2405.21060    Slug  mamba    Family  ssm
Tags     memory=matrix, decay=data, update=add
Differs  nothing known
"""

from typing import Annotated, Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from blockyard.core import Call, Cat, Prod, Site, Spec, Sublayer, constant, keep, leaf, sub, upcast
from blockyard.core.settings import ConvSpec, Count, Inner, NormSpec, StateDim
from blockyard.kernels import decayed_scan
from blockyard.parts.mixer._gate import gate
from blockyard.parts.mixer._inits import log_uniform_in, softplus_step


class Mamba2(Sublayer):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, time_exponent=1.0)
    points = ("q", "k", "v", "decay", "gate", "context")
    renamed = dict(log_rate="A_log", step="dt_bias", skip="D")
    variants = (
        dict(head_dim=8, state=8),
        dict(head_dim=8, state=8, groups=2),
        dict(head_dim=8, state=8, norm="none", before="rms"),
    )

    def __init__(
        self, site: Site, *, inner: Annotated[Inner, "channels inside; none: twice the width"] | None = None,
        head_dim: Annotated[Count, "channels of a head"] = 64, state: StateDim = 128,
        groups: Annotated[Count, "groups of heads that share keys and queries"] = 1,
        conv: ConvSpec = Spec("mixer", "short_conv", (("bias", True),)),
        norm: Annotated[NormSpec, "the norm of the gated output, in each group of heads"] = Spec("norm", "group_rms"),
        before: Annotated[NormSpec, "the norm of what is gated, in each group; none: no norm"] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        group = site.axis("groups", groups)
        channels = inner or 2 * site.stream.size
        head = Prod(
            group,
            site.axis("heads", lambda: site.divide("groups", site.divide("head_dim", channels, head_dim), groups)),
        )
        value = Prod(head, site.axis("head_dim", head_dim))
        key = Prod(group, site.axis("state", state))
        self.vkq = Cat(value, key, key)
        self.layout = Cat(value, self.vkq, head)
        self.proj = site.linear("proj", site.stream, self.layout)
        self.conv = site.slot("conv", conv, on=self.vkq)
        self.A_log = site.param("A_log", (head,), log_uniform_in(1.0, 16.0))
        self.dt_bias = site.param("dt_bias", (head,), softplus_step)
        self.D = site.param("D", (head,), constant(1.0))
        self.before = site.slot("before", before, on=value)
        self.norm = site.slot("norm", norm, on=value)
        self.out = site.linear("out", value, site.stream)

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        z, ubc, dt = self.layout.split(self.proj(x, call))
        ubc, tail = self.conv(ubc, call, sub(state, "conv"))
        u, k, q = self.vkq.split(ubc)
        u, dt = u.flatten(2, 3), softplus(upcast(dt.flatten(2)) + self.dt_bias)
        q, k = self.point("q", q, call), self.point("k", call.zero_invalid(k), call)
        v = self.point("v", u * dt[..., None].to(u.dtype), call)
        decay = self.point("decay", call.zero_invalid(-upcast(self.A_log).exp() * dt)[..., None], call)
        start = leaf(state, "memory")
        o, memory = decayed_scan(q, k, v, decay, initial_state=start, reset=call.reset)
        o = torch.addcmul(o, self.D[:, None].to(u.dtype), u).flatten(2)
        o = o if self.before is None else self.before(o, call)
        o = gate(self, o, z.flatten(2), call)
        y = self.out(self.point("context", self.norm(o, call), call), call)
        return y, keep(state, memory=memory, conv=tail)
