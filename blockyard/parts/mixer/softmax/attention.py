"""Every token reads all earlier ones, weighed by the softmax of how well its query meets their keys.

    q, k, v = W x        y_t = W_o sum_s softmax_s(q_t . k_s * scale + bias) v_s        s visible to t

Query heads come in `kv_heads` groups that share keys and values (grouped and, with 1, multi-query heads). Slots: a
position; a norm on the queries and keys of each head (`norm`) or of all heads at once (`norm_all`); a convolution of
queries, keys and values over tokens; a pattern of who reads whom; what weights become of scores; the activation of a
gate on the output.

Shapes   x (B,T,D)   q (B,T,H,K)   k, v (B,T,G,K)
Source   arXiv 1706.03762    Family  softmax
Tags     memory=keys, decay=none, attention=full
Differs  nothing known
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Call, Cat, Prod, Site, Spec, Sublayer, sub
from blockyard.core.part import Pattern, Weigh, acting
from blockyard.core.settings import (
    ActivationSpec,
    HeadDim,
    Heads,
    KVHeads,
    MixerSpec,
    NormSpec,
    PatternSpec,
    PositionSpec,
    WeighSpec,
)
from blockyard.parts.mixer._past import INSIDE, attend_past, attend_shown, seen


class Attention(Sublayer):
    claims = dict(
        causal=True, streams=True, packs=True, row_independent=True, bidirectional=True, any_order=True,
        time_exponent=2.0,
    )  # fmt: skip
    points = ("q", "k", "v", "scores", "weights", "gate", "context")
    renamed = dict(window="pattern:band.window", sinks="pattern:band.sinks", scale="weigh:softmax.scale")
    variants = (
        {}, dict(kv_heads=1), dict(kv_heads=2, pattern="band"), dict(position="alibi", weigh="off_by_one"),
        dict(position="t5", norm="rms"), dict(gate="silu", norm_all="rms"),
    )  # fmt: skip

    def __init__(
        self, site: Site, *, heads: Heads = 4, kv_heads: KVHeads | None = None, head_dim: HeadDim | None = None,
        position: PositionSpec | None = Spec("position", "rope"),
        norm: Annotated[NormSpec, "the norm of each head's queries and keys; none: no norm"] | None = None,
        norm_all: Annotated[NormSpec, "the norm of queries and keys over all heads at once; none: none"] | None = None,
        conv: Annotated[MixerSpec, "a short convolution of queries, keys and values; none: none"] | None = None,
        gate: Annotated[ActivationSpec, "the activation of a gate on the output; none: no gate"] | None = None,
        pattern: PatternSpec | None = None, weigh: WeighSpec = Spec("weigh", "softmax"),
    ) -> None:  # fmt: skip
        super().__init__()
        kv = site.axis("kv", kv_heads or heads)
        group = site.axis("group", lambda: site.divide("kv_heads", heads, kv_heads or heads))
        self.head_dim = site.axis("head_dim", head_dim or site.per_head(heads))
        q, k = Prod(kv, group, self.head_dim), Prod(kv, self.head_dim)
        self.layout, self.value_axis = Cat(q, k, k), k
        self.qkv = site.linear("qkv", site.stream, self.layout)
        self.out = site.linear("out", q, site.stream)
        self.conv = site.slot("conv", conv, on=self.layout)
        self.position = acting(site.slot("position", position, on=q), "at_qk", "by_distance", "bias", "at_scores")
        self.q_norm, self.k_norm = (
            site.slot("q_norm", norm, on=self.head_dim),
            site.slot("k_norm", norm, on=self.head_dim),
        )
        self.q_all, self.k_all = site.slot("q_all", norm_all, on=q), site.slot("k_all", norm_all, on=k)
        self.gate = site.slot("gate", gate, on=q)
        if gate is not None:
            self.gate_in = site.linear("gate_in", site.stream, q)
        self.pattern: Pattern | None = site.slot("pattern", pattern)
        self.weigh: Weigh = site.build("weigh", weigh)
        self.scale = self.weigh.scale or self.head_dim.size**-0.5
        self.dense = not self.weigh.fused or (self.position is not None and self.position.rescores)

    def prepare(self, call: Call) -> None:
        key, make = seen(call, self.pattern)
        if key not in call.memo:
            call.memo[key] = make()

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        qkv, tail = self.qkv(x, call), None
        if self.conv is not None:
            qkv, tail = self.conv(qkv, call, sub(state, "conv"))
            state = None if state is None else {name: held for name, held in state.items() if name != "conv"}
        q, k, v = self.layout.split(qkv)
        q = q.flatten(2, 3)
        if self.q_all is not None:
            q = self.q_all(q.flatten(2), call).view_as(q)
            k = self.k_all(k.flatten(2), call).view_as(k)
        if self.q_norm is not None:
            q, k = self.q_norm(q, call), self.k_norm(k, call)
        position = self.position
        if position is not None:
            q, k = position.at_qk(q, k, call)
        q, k, v = self.point("q", q, call), self.point("k", k, call), self.point("v", v, call)
        given = (q, k, v, state, call, self.pattern, position)
        if self.dense or self.asked(call, *INSIDE):
            y, state = attend_shown(self, *given, self.weigh, self.scale)
        else:
            y, state = attend_past(*given, self.scale)
        if state is not None and self.conv is not None:
            state = {**state, "conv": tail}
        y = y.flatten(2)
        if self.gate is not None:
            y = y * self.point("gate", self.gate(self.gate_in(x, call), call), call)
        return self.out(self.point("context", y, call), call), state
