"""A matrix memory whose inputs count exponentially, read as a weighted mean.

    q, k, v, o = W x_t        i, f = c tanh((w x_t + b) / c)
    S_t = sigmoid(f_t) S_{t-1} + e^(i_t) k_t v_t^T        n_t = sigmoid(f_t) n_{t-1} + e^(i_t) k_t
    h_t = S_t^T q_t / max(|n_t . q_t|, 1)        y_t = W_o (N(h_t) * sigmoid(o_t))        q over sqrt(K)

S and n are kept divided by e^(m_t), m_t = max(log sigmoid(f_t) + m_{t-1}, i_t), m_0 = 0: no exponent is positive, and 1
becomes e^(-m_t), to which eps is added. N stands on all heads, each with statistics of its own.

Shapes   x, y (B,T,D)   q, k (B,T,H,K), H K = D/2   v, o, h (B,T,H,V), H V = D   i, f, m (B,T,H)   S (B,H,K,V)
         n (B,H,K)   b (H)
Source   arXiv 2405.04517, 2503.13427    Family  linear
Tags     memory=matrix, decay=data, update=add
Differs  nothing known
"""

from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.functional import logsigmoid

from blockyard.core import Call, Cat, Prod, Site, Spec, Sublayer, constant, keep, leaf, uniform_in, upcast
from blockyard.core.settings import Eps, Heads, KeyDim, NormSpec, Positive, Scale, ValueDim
from blockyard.kernels import decayed_scan, diagonal_scan

NEVER = -1e30  # a logarithm of nothing that stays finite in sums


class MLSTM(Sublayer):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, time_exponent=1.0)
    points = ("q", "k", "v", "write", "decay", "gate", "context")
    unrecorded = "the larger of two numbers is no instruction yet"
    variants = ({}, dict(heads=2, key_dim=3, value_dim=5, cap=None))

    def __init__(
        self, site: Site, *, heads: Heads = 4,
        key_dim: Annotated[KeyDim, "channels of a head's keys; none: half the width over the heads"] | None = None,
        value_dim: ValueDim | None = None,
        cap: Annotated[Positive, "what neither gate's input passes; none: no cap"] | None = 15.0,
        eps: Annotated[Eps, "added to what a reading is divided by"] = 1e-6,
        norm: Annotated[NormSpec, "the norm of what all heads read"] = Spec("norm", "group_gain", (("eps", 1e-6),)),
        scale: Scale | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        head = site.axis("heads", heads)
        self.key_dim = site.axis("key_dim", key_dim or (lambda: max(1, site.stream.size // (2 * heads))))
        key, value = Prod(head, self.key_dim), Prod(head, site.axis("value_dim", value_dim or site.per_head(heads)))
        self.layout, self.gates, self.value_axis = Cat(key, key, value, value), Cat(head, head), value
        self.proj = site.linear("proj", site.stream, self.layout)
        self.gate_in = site.linear("gate_in", site.stream, self.gates)
        self.write_bias = site.param("write_bias", (head,), constant(-10.0))
        self.keep_bias = site.param("keep_bias", (head,), uniform_in(3.0, 6.0))
        self.norm = site.slot("norm", norm, on=value)
        self.out = site.linear("out", value, site.stream)
        self.cap, self.eps, self.scale = cap, eps, scale or self.key_dim.size**-0.5

    def _capped(self, x: Tensor) -> Tensor:
        return x if self.cap is None else self.cap * torch.tanh(x / self.cap)

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        q, k, v, o = self.layout.split(self.proj(x, call))
        i, f = (upcast(t) for t in self.gates.split(self.gate_in(x, call)))
        log_i, log_f = self._capped(i + self.write_bias), logsigmoid(self._capped(f + self.keep_bias))
        if call.valid is not None:
            log_i = log_i.masked_fill(~call.valid[..., None], NEVER)
        log_f = call.zero_invalid(log_f)
        begin = leaf(state, "peak")
        begin = torch.zeros_like(log_f[:, 0]) if begin is None else begin
        peak, before = _peaks(log_i, log_f, begin, call.reset)
        write = self.point("write", (log_i - peak).exp(), call)
        decay = self.point("decay", (log_f + before - peak).clamp(max=0)[..., None], call)
        q, v = self.point("q", q * self.scale, call), self.point("v", v, call)
        k = self.point("k", k, call) * write[..., None].to(k.dtype)
        given: dict[str, Any] = dict(reset=call.reset)
        h, memory = decayed_scan(q, k, v, decay, initial_state=leaf(state, "memory"), **given)
        each = decay.expand(k.shape).flatten(2)
        n, norm = diagonal_scan(upcast(k).flatten(2), each, initial_state=leaf(state, "norm"), **given)
        seen = (n.unflatten(2, k.shape[2:]) * q).sum(-1).abs()
        h = (h / (torch.maximum(seen, (-peak).exp()) + self.eps)[..., None]).to(x.dtype)
        gate = self.point("gate", o.flatten(2).sigmoid(), call)
        y = self.out(self.point("context", self.norm(h.flatten(2), call) * gate, call), call)
        return y, keep(state, memory=memory, norm=norm, peak=peak[:, -1] if peak.shape[1] else begin)


def _peaks(log_i: Tensor, log_f: Tensor, begin: Tensor, reset: Tensor | None) -> tuple[Tensor, Tensor]:
    """m (B,T,H) and the m of the token before, by doubling: what the s tokens before one leave of their largest."""
    fade, first = log_f, torch.full_like(log_f, NEVER)
    if reset is not None:
        first = torch.where(reset[..., None], log_f, first)  # from 0
        fade = torch.where(reset[..., None], NEVER, fade)
    first = torch.cat([fade[:, :1] + begin[:, None], torch.full_like(fade[:, 1:], NEVER)], 1).maximum(first)
    peak, s = torch.maximum(log_i, first), 1
    while s < peak.shape[1]:
        peak = torch.maximum(peak, fade + F.pad(peak[:, :-s], (0, 0, s, 0), value=NEVER))
        fade = fade + F.pad(fade[:, :-s], (0, 0, s, 0))
        s *= 2
    before = torch.cat([begin[:, None], peak[:, :-1]], 1)[:, : peak.shape[1]]
    return peak, before if reset is None else before.masked_fill(reset[..., None], 0)


def prop_a_constant_on_all_input_gates_changes_little(make: Any, x: Tensor) -> None:
    """Where a reading is divided by what was read, only how the inputs compare counts."""
    made = make(cap=None, eps=0.0)
    made.write_bias.data.fill_(200.0)
    once = made(x)[0]
    made.write_bias.data.fill_(400.0)
    assert torch.allclose(made(x)[0], once, atol=1e-9) and once.isfinite().all()
