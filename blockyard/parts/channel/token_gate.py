"""Widen each token, let one gate for the whole token open it, activate it, narrow it again.

    g = sigmoid(w . x)        y = W_2 act(g W_1 x)

Shapes   x, y (B,T,D)   hidden (B,T,F)   gate (B,T,1)
Source   arXiv 2205.09328    Slug  transtab    Family  channel
Differs  nothing known
"""

from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core import Call, Site, Spec, Sublayer, normal
from blockyard.core.settings import ActivationSpec, Inner


class TokenGate(Sublayer):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, per_token=True, time_exponent=1.0)
    points = ("gate", "hidden")

    def __init__(
        self, site: Site, *, inner: Annotated[Inner, "channels inside; none: twice the width"] | None = None,
        activation: Annotated[ActivationSpec, "the activation behind the gate"] = Spec("activation", "relu"),
    ) -> None:  # fmt: skip
        super().__init__()
        hidden = site.axis("inner", inner or 2 * site.stream.size)
        self.gate = site.param("gate", (site.stream,), normal(site.stream.size**-0.5))
        self.up = site.linear("up", site.stream, hidden)
        self.activation = site.slot("activation", activation, on=hidden)
        self.down = site.linear("down", hidden, site.stream)

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        gate = self.point("gate", torch.sigmoid((x * self.gate).sum(-1, keepdim=True)), call)
        hidden = self.point("hidden", self.activation(self.up(x, call) * gate, call), call)
        return self.down(hidden, call), state
