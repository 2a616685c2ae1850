"""The delta rule: before a key is written, what the memory already answers to it is erased.

    u_t = b_t (v_t - S_{t-1}^T k_t)        S_t = S_{t-1} + k_t u_t^T        o_t = S_t^T q_t / sqrt(K)
    b_t = beta_max sigmoid(w_b x_t)        y_t = W_o N(o_t)
    q, k = unit length of silu(conv(W x))        v = silu(conv(W x))

`beta_max` is the largest step: with 1 the transition's eigenvalues lie in [0,1], with 2 in [-1,1].

Shapes   x (B,T,D)   q, k (B,T,H,K)   v, o (B,T,H,V)   b (B,T,H)   S (B,H,K,V)
Source   arXiv 2406.06484    Slug  deltanet    Family  linear
Differs  nothing known
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Call, Cat, Prod, Site, Spec, Sublayer, sub, upcast
from blockyard.core.settings import BetaMax, ConvSpec, Heads, KeyDim, NormSpec, Scale, ValueDim
from blockyard.kernels import delta_scan


class DeltaNet(Sublayer):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, time_exponent=1.0)
    points = ("q", "k", "v", "beta", "context")
    renamed = dict(reach="beta_max")

    def __init__(
        self, site: Site, *, heads: Heads = 4, key_dim: KeyDim | None = None, value_dim: ValueDim | None = None,
        beta_max: BetaMax = 1.0,
        conv: ConvSpec | None = Spec("mixer", "short_conv"),
        norm: NormSpec = Spec("norm", "rms"),
        unit: Annotated[NormSpec, "what brings queries and keys to unit length"] = Spec("norm", "l2"),
        scale: Scale | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        head = site.axis("heads", heads)
        key = Prod(head, site.axis("key_dim", key_dim or (lambda: site.divide("heads", site.stream.size, heads))))
        value = Prod(head, site.axis("value_dim", value_dim or (lambda: site.divide("heads", site.stream.size, heads))))
        self.rows = Cat(key, key, value)
        self.parts = Cat(self.rows, head)
        self.proj = site.linear("proj", site.stream, self.parts)
        self.conv = site.slot("conv", conv, on=self.rows)
        self.unit = site.slot("unit", unit, on=key.parts[1])
        self.norm = site.slot("norm", norm, on=value.parts[1])
        self.out = site.linear("out", value, site.stream)
        self.beta_max, self.scale = beta_max, scale or key.parts[1].size ** -0.5

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        qkv, b = self.parts.split(self.proj(x, call))
        tail = sub(state, "conv")
        if self.conv is not None:
            qkv, tail = self.conv(qkv, call, tail)
        q, k, v = self.rows.split(qkv)
        q, k = self.point("q", self.unit(q, call), call), self.point("k", self.unit(k, call), call)
        v, beta = self.point("v", v, call), self.point("beta", self.beta_max * upcast(b).sigmoid(), call)
        start = None if state is None else state.get("memory")
        o, memory = delta_scan(q * self.scale, k, v, call.zero_invalid(beta), initial_state=start, reset=call.reset)
        y = self.out(self.point("context", self.norm(o, call).flatten(2), call), call)
        return y, None if state is None else {"memory": memory, "conv": tail or {}}
