"""Widen each token twice and let one copy, activated, gate the other (SwiGLU with SiLU, GEGLU with GELU).

    y = W_3 (act(W_1 x) * W_2 x)

Shapes   x, y (B,T,D)   hidden (B,T,F)
Source   arXiv 2002.05202    Family  channel
Differs  W_1 and W_2 are one fused projection
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Call, Cat, Site, Spec, Sublayer
from blockyard.core.settings import ActivationSpec, Inner, LinearSpec


class Gated(Sublayer):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, per_token=True, time_exponent=1.0)
    points = ("gate", "hidden")

    def __init__(
        self, site: Site, *,
        inner: Annotated[Inner, "channels inside; none: 8/3 of the width, rounded up"] | None = None,
        activation: Annotated[ActivationSpec, "the activation of the gate"] = Spec("activation", "silu"),
        linear: Annotated[LinearSpec, "the kind of its projections; none: the model's"] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        hidden = site.axis("inner", inner or (8 * site.stream.size + 2) // 3)
        self.layout = Cat(hidden, hidden)
        self.up = site.linear("up", site.stream, self.layout, kind=linear)
        self.activation = site.slot("activation", activation, on=hidden)
        self.down = site.linear("down", hidden, site.stream, kind=linear)

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        both = self.up(x, call)
        hidden = self.activation.gated(both) if call.points is None else None
        if hidden is not None:
            return self.down(hidden, call), state
        gate, value = self.layout.split(both)
        gate = self.point("gate", self.activation(gate, call), call)
        return self.down(self.point("hidden", gate * value, call), call), state
