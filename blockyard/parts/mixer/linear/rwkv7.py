"""A delta rule in which every channel fades by itself, and what is erased is another key than what is written.

    x^i_t = (1 - m_i) x_t + m_i x_{t-1}, i = r, w, k, v, a, g        r, k, v = W_r x^r, W_k x^k, W_v x^v
    log w = -e^(-1/2) sigmoid(w_0 + U_w tanh(V_w x^w))        a = sigmoid(a_0 + U_a V_a x^a)
    e = unit length of k * m_k        k' = k * (1 + (a - 1) * m_a)
    S_t = (diag(w_t) - (a_t * e_t) e_t^T) S_{t-1} + k'_t v_t^T        o_t = N(S_t^T r_t) + (sum r_t * m_r * k'_t) v_t
    y_t = W_o (o_t * U_g sigmoid(V_g x^g))

N stands on all heads, each with statistics of its own. No log-decay is below -0.61. Behind the rule `value_gated` the
first layer's values are mixed into v, by a gate that reads x^v.

Shapes   x, y (B,T,D)   r, w, k, a, e (B,T,H,K)   v, o (B,T,H,V), H K = H V = D   S (B,H,K,V)
         m_i (D)   m_k, m_a, m_r, w_0, a_0 (H K)
Source   arXiv 2503.14456    Family  linear
Tags     memory=matrix, decay=data, update=delta
Differs  shares and w_0 are drawn evenly at first (paper: curves along the channels that depend on the layer)
"""

import math
from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Call, Prod, Site, Spec, Sublayer, constant, keep, leaf, uniform_in, upcast
from blockyard.core.settings import Heads, KeyDim, NormSpec, Rank, ValueDim
from blockyard.kernels import dplr_scan
from blockyard.parts.mixer._shift import before, mixed

FADE = -math.exp(-0.5)  # the lowest log-decay
READS = 6  # r, w, k, v, a, g: the rows of m


class RWKV7(Sublayer):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, time_exponent=1.0)
    points = ("q", "k", "v_in", "v", "rate", "erased", "decay", "gate", "context")
    unrecorded = "a transition of diagonal plus rank one is no instruction yet"
    variants = ({}, dict(heads=2, key_dim=6, value_dim=4, decay_rank=3, rate_rank=2, gate_rank=5))

    def __init__(
        self, site: Site, *, heads: Heads = 4, key_dim: KeyDim | None = None, value_dim: ValueDim | None = None,
        decay_rank: Annotated[Rank, "channels between the two thin matrices that set decays"] = 32,
        rate_rank: Annotated[Rank, "the same of those that set how much is erased"] = 32,
        gate_rank: Annotated[Rank, "the same of those that set the gate of the output"] = 64,
        norm: Annotated[NormSpec, "the norm of what all heads read"] = Spec(
            "norm", "group", (("eps", 64e-5), ("groups", None))
        ),
        unit: Annotated[NormSpec, "what brings erased keys to unit length"] = Spec("norm", "l2"),
    ) -> None:  # fmt: skip
        super().__init__()
        head = site.axis("heads", heads)
        self.key_dim = site.axis("key_dim", key_dim or site.per_head(heads))
        self.key = Prod(head, self.key_dim)
        self.value_axis = value = Prod(head, site.axis("value_dim", value_dim or site.per_head(heads)))
        reads = site.axis("reads", READS)
        reads.ordered, reads.fixed = True, "one for each projection"
        self.shares = site.param("shares", (reads, site.stream), uniform_in(0.0, 1.0))
        self.q, self.k = site.linear("q", site.stream, self.key), site.linear("k", site.stream, self.key)
        self.v = site.linear("v", site.stream, value)
        decay, gate = site.axis("decay_rank", decay_rank), site.axis("gate_rank", gate_rank)
        self.decay_in = site.linear("decay_in", site.stream, decay)
        self.decay_out = site.linear("decay_out", decay, self.key)
        self.decay_bias = site.param("decay_bias", (self.key,), uniform_in(-6.0, 1.0))
        thin = Spec.of("linear", "low_rank", dict(rank=rate_rank))
        self.rate = site.linear("rate", site.stream, self.key, bias=True, kind=thin)
        self.gate_in, self.gate_out = site.linear("gate_in", site.stream, gate), site.linear("gate_out", gate, value)
        self.erase = site.param("erase", (self.key,), constant(0.7))
        self.write = site.param("write", (self.key,), constant(1.0))
        self.bonus = site.param("bonus", (self.key,), constant(-0.04))
        self.unit, self.norm = site.slot("unit", unit, on=self.key_dim), site.slot("norm", norm, on=value)
        self.out = site.linear("out", value, site.stream)

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        last, tail = before(x, call, state)
        xr, xw, xk, xv, xa, xg = (mixed(x, last, share) for share in self.shares)
        q, k = self.point("q", self.key.split(self.q(xr, call)), call), self.key.split(self.k(xk, call))
        v = self.value_axis.split(self.v(self.point("v_in", xv, call), call))
        v = self.point("v", v, call)
        rate = self.point("rate", self.key.split(self.rate(xa, call)).sigmoid(), call)
        decay = upcast(self.decay_out(self.decay_in(xw, call).tanh(), call)) + self.decay_bias
        decay = self.point("decay", FADE * self.key.split(decay.sigmoid()), call)
        erased, written, bonus = (self.key.split(p.to(x.dtype)) for p in (self.erase, self.write, self.bonus))
        key = self.point("erased", self.unit(k * erased, call), call)
        k = self.point("k", k * (1 - written) + k * rate * written, call)
        back = call.zero_invalid(key * rate)
        o, memory = dplr_scan(
            q, call.zero_invalid(k), v, -key, back, call.zero_invalid(decay),
            initial_state=leaf(state, "memory"), reset=call.reset,
        )  # fmt: skip
        o = self.norm(o.flatten(2), call) + ((q * k * bonus).sum(-1, keepdim=True) * v).flatten(2)
        gate = self.point("gate", self.gate_out(self.gate_in(xg, call).sigmoid(), call), call)
        y = self.out(self.point("context", o * gate, call), call)
        return y, keep(state, memory=memory, tail=tail)
