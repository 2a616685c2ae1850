"""After every layer, a weighted sum of what all layers so far have made; the weights start as the plain stack.

    X_0 the stream at first        X_l = layer_l(y_{l-1})        y_l = sum_{j<=l} a_{l,j} X_j        y_0 = X_0
    a_{l,l} = 1, all other a = 0 at first        in a layer: x <- x + F(N(x))

A layer is `every` sublayers, counted from the first step of the model. Each token keeps the states of its own layers,
newest first, and nothing of others. Where a rule of another kind comes between, states begin anew, as many copies of
the stream as there are places; in a block that loops a step weighs as many as in its first loop.

Shapes   x, X, y (B,T,D)   a (l+1), newest first
Source   arXiv 2402.02622, 2603.16039    Slug  residual-duality    Family  residual
Differs  no dilation of the states that are weighed
"""

from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core import Call, Residual, Site, Spec
from blockyard.core.settings import Count, NormSpec


class DenseFormer(Residual):
    claims = dict(per_token=True, row_independent=True)
    points = ("weights",)
    variants = (dict(every=1), {}, dict(every=5))

    def __init__(
        self, site: Site, *, every: Annotated[Count, "sublayers of a layer"] = 2,
        norm: Annotated[NormSpec, "the norm of what a sublayer reads"] = Spec("norm", "rms"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm = site.build("norm", norm)
        self.room = site.steps // every + 1
        self.weights: Tensor | None = None
        if (site.step + 1) % every == 0:
            states = site.axis("states", (site.step + 1) // every + 1)
            states.ordered, states.fixed = True, "each earlier layer has its weight"
            self.weights = site.param("weights", (states,), _newest)

    def start(self, x: Tensor, call: Call) -> Any:
        return (x, *[x] * self.room)

    def read(self, carry: Any, ports: tuple[str, ...], call: Call) -> Any:
        return self.norm(carry[0], call)

    def write(self, carry: Any, y: Tensor, call: Call) -> Any:
        x, *states = carry
        x = x + y
        if self.weights is None:
            return (x, *states)
        states = [x, *states[:-1]]
        weights = self.point("weights", self.weights, call).to(x.dtype)
        return (sum(weight * state for weight, state in zip(weights, states)), *states)

    def flush(self, carry: Any, call: Call) -> Tensor:
        return carry[0]


def _newest(value: Tensor, _: torch.Generator) -> None:
    value.zero_()[0] = 1.0
