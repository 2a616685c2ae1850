"""A gated recurrence widened by outer products: what a token does not forget it cannot write.

    f_t = g_l + (1 - g_l) sigmoid(W_f x_t)        S_t = diag(f_t) S_{t-1} + (1 - f_t) v_t^T
    o_t = S_t^T silu(W_q x_t)        y_t = W_o N(o_t)
    g_l = sum over layers before l of softmax over layers (B): grows with depth, 0 at the first

Shapes   x (B,T,D)   q, f (B,T,H,K)   v, o (B,T,H,V)   S (B,H,K,V)   B (layers, H K), shared by all layers
Source   arXiv 2404.07904    Slug  hybrid-linear-attention    Family  linear
Tags     memory=matrix, decay=data, update=add
Differs  nothing known
"""

from typing import Any

from torch import Tensor
from torch.nn.functional import silu

from blockyard.core import Call, Cat, Prod, Site, Spec, Sublayer, keep, leaf
from blockyard.core.settings import HeadNorm, Heads, KeyDim, ValueDim
from blockyard.kernels import decayed_scan
from blockyard.parts.mixer._floor import floor, log_keep, rest, shared_floors


class HGRN2(Sublayer):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, time_exponent=1.0)
    points = ("q", "v", "decay", "context")

    def __init__(
        self, site: Site, *, heads: Heads = 4, key_dim: KeyDim | None = None, value_dim: ValueDim | None = None,
        norm: HeadNorm = Spec("norm", "rms"),
    ) -> None:  # fmt: skip
        super().__init__()
        head = site.axis("heads", heads)
        self.key_dim = site.axis("key_dim", key_dim or site.per_head(heads))
        self.value_dim = site.axis("value_dim", value_dim or site.per_head(heads))
        self.key, value = Prod(head, self.key_dim), Prod(head, self.value_dim)
        self.layout = Cat(self.key, self.key, value)
        self.proj = site.linear("proj", site.stream, self.layout)
        self.bounds = shared_floors(site, "hgrn2", self.key)
        self.norm = site.slot("norm", norm, on=self.value_dim)
        self.out = site.linear("out", value, site.stream)
        self.ordinal = site.ordinal

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        q, f, v = self.layout.split(self.proj(x, call))
        low = self.key.split(floor(self.bounds, self.ordinal))
        decay = self.point("decay", log_keep(low, f), call)
        k = call.zero_invalid(rest(decay).to(x.dtype))
        q, v = self.point("q", silu(q), call), self.point("v", v, call)
        start = leaf(state, "memory")
        o, memory = decayed_scan(q, k, v, call.zero_invalid(decay), initial_state=start, reset=call.reset)
        y = self.out(self.point("context", self.norm(o, call).flatten(2), call), call)
        return y, keep(state, memory=memory)
