"""Linear attention: every token reads a sum of outer products of keys and values, with nothing in between.

    y_t = W_o sum_s v_s (f(k_s) . f(q_t)) * scale        s up to t, or all tokens; f: nothing, or an activation

Without f a layer is cubic in its input. Set by hand (`descend`) it is a step of gradient descent: of tokens (y_i, x_i)
keys and queries select x, values select y, and W_o writes -rate/n of it. Behind it y_i is y_i - w.x_i, with w one step
from 0 on the mean of (y_i - w.x_i)^2 / 2; m such layers that see both ways are m steps. A token that does not count is
read by none and reads all the same: a query with y = 0 ends with *minus* w.x.

Shapes   x, y (B,T,D)   q, k (B,T,H,K)   v (B,T,H,V)   S = sum k v^T (B,H,K,V)
Source   arXiv 2006.16236, 2212.07677    Slug  icl-linear    Family  linear
Tags     memory=matrix, decay=none, update=add, attention=kernel
Differs  not normalised (2006.16236: over the sum of the scores)
"""

from collections.abc import Sequence
from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core import Call, Cat, Prod, Site, Sublayer, UsageError, keep, leaf, upcast
from blockyard.core.settings import ActivationSpec, Heads, KeyDim, Scale, ValueDim
from blockyard.kernels import decayed_scan


class LinearAttention(Sublayer):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, bidirectional=True, time_exponent=1.0)
    points = ("q", "k", "v", "context")
    variants = ({}, dict(heads=2, key_dim=3, value_dim=5, activation="silu", scale=0.5))

    def __init__(
        self, site: Site, *, heads: Heads = 4, key_dim: KeyDim | None = None, value_dim: ValueDim | None = None,
        activation: Annotated[ActivationSpec, "what keys and queries go through; none: nothing"] | None = None,
        scale: Scale | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        head = site.axis("heads", heads)
        self.key_dim = site.axis("key_dim", key_dim or site.per_head(heads))
        self.value_dim = site.axis("value_dim", value_dim or site.per_head(heads))
        key, value = Prod(head, self.key_dim), Prod(head, self.value_dim)
        self.layout = Cat(key, key, value)
        self.proj = site.linear("proj", site.stream, self.layout)
        self.activation = site.slot("activation", activation, on=key)
        self.out = site.linear("out", value, site.stream)
        self.scale = scale or self.key_dim.size**-0.5

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        q, k, v = self.layout.split(self.proj(x, call))
        if self.activation is not None:
            q, k = self.activation(q, call), self.activation(k, call)
        q, k, v = self.point("q", q, call), self.point("k", call.zero_invalid(k), call), self.point("v", v, call)
        if self.causal:
            none = torch.zeros(k.shape[2], 1, dtype=upcast(k).dtype, device=k.device).expand(*x.shape[:2], -1, 1)
            start = leaf(state, "memory")
            o, memory = decayed_scan(q * self.scale, k, v, none, initial_state=start, reset=call.reset)
        else:
            o, memory = both_ways(q * self.scale, k, v, call.segment), None
        y = self.out(self.point("context", o.flatten(2), call), call)
        return y, keep(state, memory=memory)


def both_ways(q: Tensor, k: Tensor, v: Tensor, segment: Tensor | None) -> Tensor:
    """What every token reads of all tokens of its segment."""
    if segment is None:
        return torch.einsum("bthk,bhkv->bthv", q, torch.einsum("bshk,bshv->bhkv", k, v))
    scores = torch.einsum("bthk,bshk->bhts", q, k)
    seen = segment[:, None, :, None] == segment[:, None, None, :]
    return torch.einsum("bhts,bshv->bthv", scores.masked_fill(~seen, 0), v)


@torch.no_grad()
def descend(mixer: LinearAttention, rate: float, examples: int, x: Sequence[int], y: int) -> None:
    """Set a mixer of one head to one step of gradient descent on so many examples.

    x, y   the channels of the stream that hold a vector and its number
    """
    dim, keys = mixer.stream.size, mixer.key_dim.size
    if mixer.layout.size != 2 * keys + mixer.value_dim.size or len(x) > keys or mixer.activation is not None:
        raise UsageError(f"{mixer.path}: a step needs one head of {len(x)} channels or more, and no activation")
    select = torch.zeros(keys, dim)
    select[range(len(x)), list(x)] = 1
    value = torch.zeros(mixer.value_dim.size, dim)
    value[0, y] = 1
    mixer.proj.weight.copy_(torch.cat([select, select, value]))
    mixer.out.weight.zero_()
    mixer.out.weight[y, 0] = -rate / (examples * mixer.scale)


def prop_three_times_as_large_is_cubed(make: Any, x: Tensor) -> None:
    made = make(activation=None)
    assert torch.allclose(made(3 * x)[0], 27 * made(x)[0], rtol=1e-3, atol=1e-4)
