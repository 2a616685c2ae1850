"""A scalar memory whose gates read what its own head said last: a recurrence that no chunk can take apart.

    i, f, z, o = W x_t + b + R h_{t-1}        R block by block
    c_t = sigmoid(f) c_{t-1} + e^i tanh(z)        n_t = sigmoid(f) n_{t-1} + e^i
    h_t = sigmoid(o) c_t / n_t        y_t = W_o N(h_t)

c and n are kept divided by e^(m_t), m_t = max(log sigmoid(f) + m_{t-1}, i): no exponent is positive. Time grows with
the length as in every other recurrence, but all tokens are done one after the other. N stands on all heads, each with
statistics of its own.

Shapes   x, y (B,T,D)   i, f, z, o, c, n, m, h (B,T,H,P), H P = D   R (4 H P,P)   b (4 H P)
Source   arXiv 2405.04517    Family  linear
Tags     memory=vector, decay=data, update=add
Differs  no convolution before the gates i and f
"""

from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core import Call, Cat, Prod, Site, Spec, Sublayer, constant, keep, leaf, normal, uniform_in, upcast
from blockyard.core.settings import HeadDim, Heads, NormSpec
from blockyard.kernels import slstm_scan


class SLSTM(Sublayer):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, time_exponent=1.0)
    points = ("context",)
    unrecorded = "gates that read the last answer are no instruction yet"
    variants = ({}, dict(heads=2, head_dim=5))

    def __init__(
        self, site: Site, *, heads: Heads = 4, head_dim: HeadDim | None = None,
        norm: Annotated[NormSpec, "the norm of what all heads say"] = Spec("norm", "group_gain", (("eps", 1e-6),)),
    ) -> None:  # fmt: skip
        super().__init__()
        head, own = site.axis("heads", heads), site.axis("head_dim", head_dim or site.per_head(heads))
        last = site.axis("last", own.size)
        for axis in (head, own, last):
            axis.fixed = "what a head says is what its gates read next"
        value = Prod(head, own)
        self.layout = Cat(value, value, value, value)
        self.proj = site.linear("proj", site.stream, self.layout)
        start, use = normal(own.size**-0.5), dict[str, Any](decay=True, reads=value)
        self.recurrent = site.param("recurrent", (self.layout, last), start, writes=self.layout, **use)
        self.write_bias = site.param("write_bias", (value,), constant(0.0))
        self.keep_bias = site.param("keep_bias", (value,), uniform_in(3.0, 6.0))
        self.z_bias = site.param("z_bias", (value,), constant(0.0))
        self.gate_bias = site.param("gate_bias", (value,), constant(0.0))
        self.norm = site.slot("norm", norm, on=value)
        self.out = site.linear("out", value, site.stream)
        self.shape = value.shape

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        biases = torch.cat([self.write_bias, self.keep_bias, self.z_bias, self.gate_bias])
        gates = (upcast(self.proj(x, call)) + biases).unflatten(-1, (4, *self.shape))
        recurrent = self.recurrent.view(4, *self.shape, -1)
        h, memory = slstm_scan(
            gates, recurrent, initial_state=leaf(state, "memory"), reset=call.reset, valid=call.valid
        )
        y = self.norm(self.point("context", h.to(x.dtype).flatten(2), call), call)
        return self.out(y, call), keep(state, memory=memory)
