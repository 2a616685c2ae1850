"""Widen each token, activate it, narrow it again.

    y = W_2 act(W_1 x)

Shapes   x, y (B,T,D)   hidden (B,T,F)
Source   arXiv 1706.03762    Family  channel
Differs  nothing known
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Call, Site, Spec, Sublayer
from blockyard.core.settings import ActivationSpec, Inner, LinearSpec


class MLP(Sublayer):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, per_token=True, time_exponent=1.0)
    points = ("hidden",)

    def __init__(
        self, site: Site, *, inner: Annotated[Inner, "channels inside; none: 4 times the width"] | None = None,
        activation: Annotated[ActivationSpec, "the activation between the two matrices"] = Spec("activation", "gelu"),
        linear: Annotated[LinearSpec, "the kind of both projections; none: the model's"] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        hidden = site.axis("inner", inner or 4 * site.stream.size)
        self.up = site.linear("up", site.stream, hidden, kind=linear)
        self.activation = site.slot("activation", activation, on=hidden)
        self.down = site.linear("down", hidden, site.stream, kind=linear)

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        hidden = self.point("hidden", self.activation(self.up(x, call), call), call)
        return self.down(hidden, call), state
