"""The delta rule with a gate: the whole memory decays before one key of it is rewritten.

    S_t = a_t (I - b_t k_t k_t^T) S_{t-1} + b_t k_t v_t^T        o_t = S_t^T q_t / sqrt(K)
    log a_t = -exp(A_log) softplus(w_a x_t + dt_bias)        b_t = beta_max sigmoid(w_b x_t)
    q, k = unit length of silu(conv(W x))        v = silu(conv(W x))        y_t = W_o (N(o_t) * silu(W_g x_t))

`beta_max` is the largest step: with 1 the transition's eigenvalues lie in [0,1], with 2 in [-1,1]. With fewer
`key_heads` than heads, as many neighbouring heads share queries and keys.

Shapes   x (B,T,D)   q, k (B,T,G,K), G = H, H K = 3D/4   v, o (B,T,H,V), V = 2K   a, b (B,T,H)   S (B,H,K,V)
         A_log, dt_bias (H)
Source   arXiv 2412.06464    Slug  deltanet    Family  linear
Tags     memory=matrix, decay=data, update=delta
Differs  nothing known
"""

from typing import Annotated, Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from blockyard.core import Call, Cat, Prod, Site, Spec, Sublayer, keep, leaf, sub, upcast
from blockyard.core.settings import BetaMax, ConvSpec, HeadNorm, Heads, KeyDim, NormSpec, Scale, ValueDim
from blockyard.kernels import delta_scan
from blockyard.parts.mixer._gate import gate
from blockyard.parts.mixer._inits import log_uniform_in, softplus_step


class GatedDeltaNet(Sublayer):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, time_exponent=1.0)
    points = ("q", "k", "v", "beta", "decay", "gate", "context")
    renamed = dict(reach="beta_max", log_rate="A_log", step="dt_bias")
    variants = ({}, dict(beta_max=2.0), dict(key_heads=2, key_dim=6))

    def __init__(
        self, site: Site, *, heads: Heads = 4,
        key_dim: Annotated[KeyDim, "channels of a head's keys; none: 3/4 of the width over the heads"] | None = None,
        key_heads: Annotated[Heads, "heads of queries and keys, each for as many others; none: all"] | None = None,
        value_dim: Annotated[ValueDim, "channels of a head's values; none: twice those of its keys"] | None = None,
        beta_max: BetaMax = 1.0,
        conv: ConvSpec | None = Spec("mixer", "short_conv"),
        norm: HeadNorm = Spec("norm", "rms"),
        unit: Annotated[NormSpec, "what brings queries and keys to unit length"] = Spec("norm", "l2"),
        scale: Scale | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        keys = site.axis("heads", key_heads or heads)
        group = site.axis("group", lambda: site.divide("key_heads", heads, key_heads or heads))
        head = Prod(keys, group)
        self.key_dim = site.axis("key_dim", key_dim or max(1, 3 * site.stream.size // (4 * heads)))
        self.value_dim = site.axis("value_dim", value_dim or 2 * self.key_dim.size)
        key, value = Prod(keys, self.key_dim), Prod(head, self.value_dim)
        self.qkv = Cat(key, key, value)
        self.layout = Cat(self.qkv, value, head, head)
        self.proj = site.linear("proj", site.stream, self.layout)
        self.conv = site.slot("conv", conv, on=self.qkv)
        self.unit = site.slot("unit", unit, on=self.key_dim)
        self.A_log = site.param("A_log", (head,), log_uniform_in(1e-4, 16.0))
        self.dt_bias = site.param("dt_bias", (head,), softplus_step)
        self.norm = site.slot("norm", norm, on=self.value_dim)
        self.out = site.linear("out", value, site.stream)
        self.group = group
        self.beta_max, self.scale = beta_max, scale or self.key_dim.size**-0.5

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        qkv, g, a, b = self.layout.split(self.proj(x, call))
        tail = sub(state, "conv")
        if self.conv is not None:
            qkv, tail = self.conv(qkv, call, tail)
        q, k, v = self.qkv.split(qkv)
        v, a, b = v.flatten(2, 3), a.flatten(2), b.flatten(2)
        q, k = self.point("q", self.unit(q, call), call), self.point("k", self.unit(k, call), call)
        if self.group.size > 1:
            q, k = _for_each(q, self.group.size), _for_each(k, self.group.size)
        v, beta = self.point("v", v, call), self.point("beta", self.beta_max * upcast(b).sigmoid(), call)
        decay = self.point("decay", -upcast(self.A_log).exp() * softplus(upcast(a) + self.dt_bias), call)
        start = leaf(state, "memory")
        o, memory = delta_scan(
            q * self.scale,
            k,
            v,
            call.zero_invalid(beta),
            call.zero_invalid(decay),
            initial_state=start,
            reset=call.reset,
        )
        o = gate(self, self.norm(o, call), g.flatten(2, 3), call)
        y = self.out(self.point("context", o.flatten(2), call), call)
        return y, keep(state, memory=memory, conv=tail)


def _for_each(x: Tensor, group: int) -> Tensor:
    """(B,T,G,K) -> (B,T,H,K): each head of keys as often as heads share it, side by side."""
    heads = [head for head in x.flatten(2).split(x.shape[3], -1) for _ in range(group)]
    return torch.cat(heads, -1).unflatten(-1, (-1, x.shape[3]))
