"""Attention within segments and to a memory of the tokens before, through which no gradient flows back.

    y_i = W_o sum_j softmax_j(q_i . k_j * scale + bias) v_j        size s - memory <= j <= i,  s = floor(i / size)
    j < size s: k_j, v_j of W sg(x_j)        sg: the same numbers, without their history

What a row says is what plain attention says that reads the same tokens; without a limit to the memory, it is plain
attention itself. What differs is training: a segment teaches the weights, and of the tokens before it only those.

Shapes   x (B,T,D)   q, k, v (B,T,H,K)
Source   arXiv 1901.02860, 2307.05979    Slug  rl-survey    Family  softmax
Tags     memory=keys, decay=none, agent=recall
Differs  rotary positions by default (paper: a learned term of content and one of distance, on sinusoids); the memory
         slides along whole rows, so that a step trains on several segments
"""

from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core import Call, Cat, Prod, Site, Spec, Sublayer, UsageError
from blockyard.core.part import acting
from blockyard.core.settings import Count, Heads, Natural, PositionSpec
from blockyard.kernels import attend
from blockyard.parts.mixer._past import attend_past, seen


class SegmentMemory(Sublayer):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, time_exponent=2.0)
    points = ("q", "k", "v", "context")
    variants = ({}, dict(size=4, memory=3), dict(size=5, memory=None, position="alibi"), dict(size=3, memory=0))

    def __init__(
        self, site: Site, *, heads: Heads = 4, size: Annotated[Count, "tokens of a segment"] = 32,
        memory: Annotated[Natural, "tokens before the segment that are read; none: all"] | None = 32,
        position: PositionSpec | None = Spec("position", "rope"),
    ) -> None:  # fmt: skip
        super().__init__()
        head = Prod(site.axis("heads", heads), site.axis("head_dim", site.per_head(heads)))
        self.layout = Cat(head, head, head)
        self.qkv = site.linear("qkv", site.stream, self.layout)
        self.out = site.linear("out", head, site.stream)
        self.position = acting(site.slot("position", position, on=head), "at_qk", "by_distance", "bias")
        if self.position is not None and (self.position.cap is not None or self.position.rescores):
            raise UsageError(
                f"{site.path}: position:{self.position.spec.name} reads what is far otherwise; take another"
            )
        self.pattern = site.build("pattern", Spec.of("pattern", "segments", dict(size=size, memory=memory)))

    def prepare(self, call: Call) -> None:
        key, make = seen(call, self.pattern)
        if key not in call.memo:
            call.memo[key] = make()

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        q, k, v = self._made(x, call)
        q, k, v = self.point("q", q, call), self.point("k", k, call), self.point("v", v, call)
        scale = q.shape[-1] ** -0.5
        if state is None and x.requires_grad and torch.is_grad_enabled():
            y = self._cut(q, k, v, x, call, scale)
        else:
            y, state = attend_past(q, k, v, state, call, self.pattern, self.position, scale)
        return self.out(self.point("context", y.flatten(2), call), call), state

    def _made(self, x: Tensor, call: Call) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = self.layout.split(self.qkv(x, call))
        return (q, k, v) if self.position is None else (*self.position.at_qk(q, k, call), v)

    def _cut(self, q: Tensor, k: Tensor, v: Tensor, x: Tensor, call: Call, scale: float) -> Tensor:
        """The same numbers with every key twice: those of the own segment, and those of the memory, of sg(x)."""
        _, k_held, v_held = self._made(x.detach(), call)
        mask = call.memoised(*seen(call, self.pattern)).mask
        first = self.pattern.first(call.positions[:1] if call.aligned else call.positions)
        own = first[:, :, None] == first[:, None, :]
        both = torch.cat([mask & ~own, mask & own], -1)[:, None]
        bias = None if self.position is None else self.position.bias(call)
        if bias is not None:
            both = torch.cat([bias, bias], -1).masked_fill(~both, float("-inf"))
        keys, values = torch.cat([k_held, k], 1), torch.cat([v_held, v], 1)
        return attend(q, keys, values, mask=both, causal=False, scale=scale)
