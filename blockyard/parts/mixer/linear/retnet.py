"""Retention: a matrix memory that decays at a fixed rate, each head at its own; queries and keys are rotated.

    S_t = g_h S_{t-1} + k_t v_t^T        o_t = S_t^T q_t / sqrt(K)        g_h = 1 - 2^(-5-h),  h = 0..H-1
    y_t = W_o (N(o_t) * silu(W_r x_t))

Shapes   x (B,T,D)   q, k (B,T,H,K), H K = D   v, o (B,T,H,V), H V = 2 D   S (B,H,K,V)
Source   arXiv 2307.08621    Family  linear
Tags     memory=matrix, decay=fixed, update=add
Differs  RMS norm in each head (paper: group norm without gain); no normalisation of the scores; rope pairs halves
"""

from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core import Call, Cat, Prod, Site, Spec, Sublayer, keep, leaf, upcast, widest_dtype
from blockyard.core.part import acting
from blockyard.core.settings import HeadNorm, Heads, KeyDim, PositionSpec, Scale, ValueDim
from blockyard.kernels import decayed_scan
from blockyard.parts.mixer._gate import gate


class Retention(Sublayer):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, time_exponent=1.0)
    points = ("q", "k", "v", "gate", "context")

    def __init__(
        self, site: Site, *, heads: Heads = 4, key_dim: KeyDim | None = None,
        value_dim: Annotated[ValueDim, "channels of a head's values; none: twice the width divided by the heads"]
        | None = None,
        position: PositionSpec | None = Spec("position", "rope"), norm: HeadNorm = Spec("norm", "rms"),
        scale: Scale | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.heads = site.axis("heads", heads)
        self.heads.ordered = True
        self.key_dim = site.axis("key_dim", key_dim or site.per_head(heads))
        self.value_dim = site.axis("value_dim", value_dim or site.per_head(heads, 2))
        key, value = Prod(self.heads, self.key_dim), Prod(self.heads, self.value_dim)
        self.layout = Cat(key, key, value, value)
        self.proj = site.linear("proj", site.stream, self.layout)
        self.position = acting(site.slot("position", position, on=key), "at_qk")
        self.norm = site.slot("norm", norm, on=self.value_dim)
        self.out = site.linear("out", value, site.stream)
        self.scale = scale or self.key_dim.size**-0.5

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        q, k, v, r = self.layout.split(self.proj(x, call))
        if self.position is not None:
            q, k = self.position.at_qk(q, k, call)
        q, k, v = self.point("q", q, call), self.point("k", call.zero_invalid(k), call), self.point("v", v, call)
        rate = 2.0 ** (-5.0 - torch.arange(self.heads.size, device=x.device, dtype=widest_dtype(x.device)))
        decay = call.zero_invalid(torch.log1p(-rate).to(upcast(x).dtype)[:, None].expand(*x.shape[:2], -1, 1))
        start = leaf(state, "memory")
        o, memory = decayed_scan(q * self.scale, k, v, decay, initial_state=start, reset=call.reset)
        o = gate(self, self.norm(o, call), r, call)
        y = self.out(self.point("context", o.flatten(2), call), call)
        return y, keep(state, memory=memory)
