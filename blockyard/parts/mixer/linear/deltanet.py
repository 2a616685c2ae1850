"""The delta rule: before a key is written, what the memory already answers to it is erased.

    u_t = b_t (v_t - S_{t-1}^T k_t)        S_t = S_{t-1} + k_t u_t^T        o_t = S_t^T q_t / sqrt(K)
    b_t = beta_max sigmoid(w_b x_t)        y_t = W_o N(o_t)
    q, k = unit length of silu(conv(W x))        v = silu(conv(W x))

`beta_max` is the largest step: with 1 the transition's eigenvalues lie in [0,1], with 2 in [-1,1].

Shapes   x (B,T,D)   q, k (B,T,H,K)   v, o (B,T,H,V)   b (B,T,H)   S (B,H,K,V)
Source   arXiv 2406.06484    Slug  deltanet    Family  linear
Tags     memory=matrix, decay=none, update=delta
Differs  nothing known
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Call, Cat, Prod, Site, Spec, Sublayer, keep, leaf, sub, upcast
from blockyard.core.settings import BetaMax, ConvSpec, HeadNorm, Heads, KeyDim, NormSpec, Scale, ValueDim
from blockyard.kernels import delta_scan


class DeltaNet(Sublayer):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, time_exponent=1.0)
    points = ("q", "k", "v", "beta", "context")
    renamed = dict(reach="beta_max")
    variants = ({}, dict(beta_max=2.0, conv=None))

    def __init__(
        self, site: Site, *, heads: Heads = 4, key_dim: KeyDim | None = None, value_dim: ValueDim | None = None,
        beta_max: BetaMax = 1.0,
        conv: ConvSpec | None = Spec("mixer", "short_conv"),
        norm: HeadNorm = Spec("norm", "rms"),
        unit: Annotated[NormSpec, "what brings queries and keys to unit length"] = Spec("norm", "l2"),
        scale: Scale | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        head = site.axis("heads", heads)
        self.key_dim = site.axis("key_dim", key_dim or site.per_head(heads))
        self.value_dim = site.axis("value_dim", value_dim or site.per_head(heads))
        key, value = Prod(head, self.key_dim), Prod(head, self.value_dim)
        self.qkv = Cat(key, key, value)
        self.layout = Cat(self.qkv, head)
        self.proj = site.linear("proj", site.stream, self.layout)
        self.conv = site.slot("conv", conv, on=self.qkv)
        self.unit = site.slot("unit", unit, on=self.key_dim)
        self.norm = site.slot("norm", norm, on=self.value_dim)
        self.out = site.linear("out", value, site.stream)
        self.beta_max, self.scale = beta_max, scale or self.key_dim.size**-0.5

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        qkv, b = self.layout.split(self.proj(x, call))
        tail = sub(state, "conv")
        if self.conv is not None:
            qkv, tail = self.conv(qkv, call, tail)
        q, k, v = self.qkv.split(qkv)
        q, k = self.point("q", self.unit(q, call), call), self.point("k", self.unit(k, call), call)
        v, beta = self.point("v", v, call), self.point("beta", self.beta_max * upcast(b).sigmoid(), call)
        start = leaf(state, "memory")
        o, memory = delta_scan(q * self.scale, k, v, call.zero_invalid(beta), initial_state=start, reset=call.reset)
        y = self.out(self.point("context", self.norm(o, call).flatten(2), call), call)
        return y, keep(state, memory=memory, conv=tail)
