"""Widen each token, keep its largest numbers, and narrow it again by the rows of these alone.

    a = act(W_1 x)        y = sum over the k largest a_i of a_i w_i        w_i row i of W_2

What it says is what channel:mlp with activation:top_k says; of W_2 a token reads k rows of the F. Of equal numbers the
first stay. Where the hidden numbers are asked for they are made, zeros and all, and multiplied by the whole matrix.

Shapes   x, y (B,T,D)   hidden (B,T,F)   W_2 (F,D)
Source   arXiv 2210.06313    Slug  lazy-neuron    Family  channel
Differs  nothing known
"""

from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core import Call, Site, Spec, Sublayer, normal
from blockyard.core.settings import ActivationSpec, Count, Inner
from blockyard.kernels import gathered_linear, largest


class SparseMLP(Sublayer):
    unrecorded = "which rows a token reads depends on what it says"
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, per_token=True, time_exponent=1.0)
    points = ("hidden",)
    variants = (dict(k=40), dict(k=4), dict(k=200))

    def __init__(
        self, site: Site, *, k: Annotated[Count, "hidden numbers of a token that stay"] = 128,
        inner: Annotated[Inner, "channels inside; none: 4 times the width"] | None = None,
        activation: Annotated[ActivationSpec, "the activation before"] = Spec("activation", "relu"),
    ) -> None:  # fmt: skip
        super().__init__()
        stream, hidden = site.stream, site.axis("inner", inner or 4 * site.stream.size)
        self.up = site.linear("up", stream, hidden)
        self.activation = site.slot("activation", activation, on=hidden)
        start = normal((hidden.size * site.steps) ** -0.5)
        self.down = site.param("down", (hidden, stream), start, decay=True, reads=hidden, writes=stream)
        self.k = k

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        a = self.activation(self.up(x, call), call)
        values, places = largest(a, self.k)
        if not self.asked(call, "hidden"):
            return gathered_linear(values, self.down, places), state
        hidden = self.point("hidden", torch.zeros_like(a).scatter(-1, places, values), call)
        return hidden @ self.down.to(hidden.dtype), state
