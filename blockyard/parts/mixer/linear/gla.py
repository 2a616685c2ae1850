"""Gated linear attention: a matrix memory whose rows decay by a gate that each token sets.

    a_t = sigmoid(U V x_t + b)^(1/tau)        S_t = diag(a_t) S_{t-1} + k_t v_t^T        o_t = S_t^T q_t / sqrt(K)
    y_t = W_o (N(o_t) * silu(W_r x_t))

Shapes   x (B,T,D)   q, k, a (B,T,H,K), H K = D/2   v, o (B,T,H,V), H V = D   S (B,H,K,V)
Source   arXiv 2312.06635    Slug  gla    Family  linear
Tags     memory=matrix, decay=data, update=add
Differs  projections start like every other linear (paper: Xavier with gain 2^-2.5)
"""

from typing import Annotated, Any

from torch import Tensor
from torch.nn.functional import logsigmoid

from blockyard.core import Call, Cat, Prod, Site, Spec, Sublayer, keep, leaf, upcast
from blockyard.core.settings import HeadNorm, Heads, KeyDim, Positive, Rank, Scale, ValueDim
from blockyard.kernels import decayed_scan
from blockyard.parts.mixer._gate import gate


class GatedLinear(Sublayer):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, time_exponent=1.0)
    points = ("q", "k", "v", "decay", "gate", "context")

    def __init__(
        self, site: Site, *, heads: Heads = 4,
        key_dim: Annotated[KeyDim, "channels of a head's keys; none: half the width over the heads"] | None = None,
        value_dim: ValueDim | None = None,
        rank: Annotated[Rank, "channels between the two thin matrices that set the gates"] = 16,
        tau: Annotated[Positive, "how slowly gates close: decays are the tau-th root of a sigmoid"] = 16.0,
        norm: HeadNorm = Spec("norm", "rms"), scale: Scale | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        head = site.axis("heads", heads)
        self.key_dim = site.axis("key_dim", key_dim or (lambda: max(1, site.stream.size // (2 * heads))))
        self.value_dim = site.axis("value_dim", value_dim or site.per_head(heads))
        self.key, value = Prod(head, self.key_dim), Prod(head, self.value_dim)
        self.layout = Cat(self.key, self.key, value, value)
        self.proj = site.linear("proj", site.stream, self.layout)
        self.decay = site.linear(
            "decay", site.stream, self.key, bias=True, kind=Spec.of("linear", "low_rank", dict(rank=rank))
        )
        self.norm = site.slot("norm", norm, on=self.value_dim)
        self.out = site.linear("out", value, site.stream)
        self.tau, self.scale = tau, scale or self.key_dim.size**-0.5

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        q, k, v, r = self.layout.split(self.proj(x, call))
        decay = call.zero_invalid(logsigmoid(upcast(self.key.split(self.decay(x, call)))) / self.tau)
        q, k, v = self.point("q", q, call), self.point("k", call.zero_invalid(k), call), self.point("v", v, call)
        decay = self.point("decay", decay, call)
        start = leaf(state, "memory")
        o, memory = decayed_scan(q * self.scale, k, v, decay, initial_state=start, reset=call.reset)
        o = gate(self, self.norm(o, call), r, call)
        y = self.out(self.point("context", o.flatten(2), call), call)
        return y, keep(state, memory=memory)


def prop_a_huge_tau_never_forgets(make: Any, x: Tensor) -> None:
    (_, a), (_, b) = make(tau=1e9)(x, None, {}), make(tau=1e12)(x, None, {})
    assert (a["memory"] - b["memory"]).abs().max() < 1e-4
