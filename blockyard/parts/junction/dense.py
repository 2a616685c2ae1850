"""Another width from here on: each token through a net of one hidden layer, beside a linear map of the same token.

    x' = N(W_2 act(W_1 x + b_1) + b_2 + W_3 x)

Shapes   x (B,T,D)   x' (B,T,D')   hidden (B,T,F)
Source   arXiv 2304.08424    Family  junction
Differs  one bias in place of two that are added; no dropout
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Call, Junction, Site, Spec
from blockyard.core.settings import ActivationSpec, Count, Inner, NormSpec


class Dense(Junction):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, per_token=True)
    points = ("hidden",)
    variants = ({}, dict(dim=20, inner=8, norm=None))

    def __init__(
        self, site: Site, *, dim: Annotated[Count, "channels from here on; none: as many"] | None = None,
        inner: Annotated[Inner, "channels inside; none: as many as from here on"] | None = None,
        activation: Annotated[ActivationSpec, "the activation between the two matrices"] = Spec("activation", "relu"),
        norm: Annotated[NormSpec, "the norm of what comes out; none: no norm"] | None = Spec("norm", "layer"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.out = site.axis("stream", dim or site.stream.size)
        hidden = site.axis("inner", inner or self.out.size)
        self.up = site.linear("up", site.stream, hidden, bias=True)
        self.activation = site.slot("activation", activation, on=hidden)
        self.down = site.linear("down", hidden, self.out, bias=True)
        self.skip = site.linear("skip", site.stream, self.out, kind=Spec.of("linear", "dense", {"bias": False}))
        self.norm = site.slot("norm", norm, on=self.out)

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Call, Any]:
        hidden = self.point("hidden", self.activation(self.up(x, call), call), call)
        y = self.down(hidden, call) + self.skip(x, call)
        return (y if self.norm is None else self.norm(y, call)), call, state
