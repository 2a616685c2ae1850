"""Beside what it would read, let a sublayer read what a token's own last few states hold: attention along depth.

    h_j = N(x_j)        q = W_q h_l        k_j, v_j = W_k h_j, W_v h_j
    o = sum_j softmax_j(q . k_j / sqrt(K)) v_j        j = l-w+1 .. l, no earlier than the first
    x_{l+1} = x_l + F(h_l + W_o o)                    W_o = 0 at first, which is pre-norm

It is causal attention in a window of w, with layers in the place of tokens. Keys are normed, since the stream grows.
Each token keeps w states of its own, newest first, and nothing of others. Where a rule of another kind comes between,
they begin anew as copies of the stream; in a block that loops a step reads as far back as in its first loop.

Shapes   x, h (B,T,D)   q, k, v, o (B,T,H,K)
Source   arXiv 2603.16039    Slug  residual-duality    Family  residual
Differs  the operator stands beside what pre-norm reads, behind a projection that starts at zero
"""

from collections.abc import Sequence
from functools import reduce
from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core import Call, Cat, Prod, Residual, Site, Spec, upcast
from blockyard.core.settings import Count, HeadDim, Heads, NormSpec


class DepthRead(Residual):
    claims = dict(per_token=True, row_independent=True)
    points = ("weights", "context")
    variants = (dict(states=1), {}, dict(states=3, heads=2))

    def __init__(
        self, site: Site, *, states: Annotated[Count, "how many of the last states are read"] = 4, heads: Heads = 1,
        head_dim: HeadDim | None = None,
        norm: Annotated[NormSpec, "the norm of every state that is read"] = Spec("norm", "rms"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm = site.build("norm", norm)
        self.head = Prod(site.axis("heads", heads), site.axis("head_dim", head_dim or site.per_head(heads)))
        self.keys_values = Cat(self.head, self.head)
        self.q = site.linear("q", site.stream, self.head)
        self.kv = site.linear("kv", site.stream, self.keys_values)
        self.out = site.linear("out", self.head, site.stream, gain=0.0)
        self.room, self.seen = states, min(states, site.step + 1)

    def start(self, x: Tensor, call: Call) -> Any:
        return (x,) * self.room

    def read(self, carry: Any, ports: tuple[str, ...], call: Call) -> Any:
        states = [self.norm(x, call) for x in carry[: self.seen]]
        q = upcast(self.head.split(self.q(states[0], call))) * self.head.shape[-1] ** -0.5
        k, v = zip(*(self.keys_values.split(self.kv(h, call)) for h in states))
        weights = _softmax([(q * each).sum(-1, keepdim=True) for each in k])
        if self.asked(call, "weights"):
            weights = list(self.point("weights", torch.cat(weights, -1), call).split(1, -1))
        o = reduce(torch.add, (weight.to(each.dtype) * each for weight, each in zip(weights, v)))
        return states[0] + self.out(self.point("context", o, call).flatten(2), call)

    def write(self, carry: Any, y: Tensor, call: Call) -> Any:
        return (carry[0] + y, *carry[:-1])

    def flush(self, carry: Any, call: Call) -> Tensor:
        return carry[0]


def _softmax(scores: Sequence[Tensor]) -> list[Tensor]:
    """The softmax of a few tensors of scores, place by place: in steps that decoding can repeat."""
    most = reduce(lambda a, b: a + (b + -a).relu(), scores)
    above = [score + -most for score in scores]
    whole = reduce(torch.add, [score.exp() for score in above]).log()
    return [(score + -whole).exp() for score in above]
