"""Coefficients of a basis, read off a window by a dense net: of a curve over the window, and of one over what follows.

    h = act(W_n .. act(W_1 z + c_1) .. + c_n)        [u | v] = W h        b = V_b u        f = V_f v

The basis V is a projection: linear:dense learns it, linear:polynomial is a trend, linear:fourier a season.

Shapes   x (R,1,L+H) = [z | .], as stem:history_ahead lays it   y (R,1,L+H) = [b | f]   h (R,1,F)   u, v (R,1,P)
Source   arXiv 1905.10437    Family  channel
Differs  nothing known
"""

from typing import Annotated, Any

import torch
from torch import Tensor, nn

from blockyard.core import Call, Cat, Site, Spec, Sublayer, UsageError
from blockyard.core.settings import ActivationSpec, Count, Inner, Layers, LinearSpec


class Expansion(Sublayer):
    claims = dict(row_independent=True, bidirectional=True)
    around = dict(stem=("history_ahead", {}), head=("said_ahead", {}))
    points = ("coefficients", "backcast", "forecast")
    variants = ({}, dict(basis="polynomial", terms=3, layers=1), dict(basis="fourier", inner=8))

    def __init__(
        self, site: Site, *, layers: Annotated[Layers, "layers of the net"] = 4,
        inner: Annotated[Inner, "channels of each; none: 4 times the width"] | None = None,
        activation: Annotated[ActivationSpec, "the activation behind each"] = Spec("activation", "relu"),
        basis: Annotated[LinearSpec, "what makes a curve of coefficients"] = Spec("linear", "dense"),
        terms: Annotated[Count, "coefficients of each curve; none: as many as it has steps"] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        length, horizon = site.axis_of("stem.length"), site.axis_of("stem.horizon")
        if length is None or horizon is None or length.size + horizon.size != site.stream.size:
            raise UsageError(f"{site.path}: expands a window as stem:history_ahead lays it")
        self.length, self.layers, self.activations = length, nn.ModuleList(), nn.ModuleList()
        read: Any = length
        for i in range(layers):
            hidden = site.axis(f"inner{i}", inner or 4 * site.stream.size)
            self.layers.append(site.linear(f"layers.{i}", read, hidden, bias=True))
            self.activations.append(site.slot(f"activations.{i}", activation, on=hidden))
            read = hidden
        back, ahead = site.axis("back", terms or length.size), site.axis("ahead", terms or horizon.size)
        self.curves = Cat(back, ahead)
        # blocks add up, and so do a curve's terms: at first all of them together say no more than one number does
        self.out = site.linear("out", read, self.curves, gain=(site.steps * max(back.size, ahead.size)) ** -0.5)
        self.back = site.linear("back", back, length, bias=True, kind=basis)
        self.ahead = site.linear("ahead", ahead, horizon, bias=True, kind=basis)

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        h = x[..., : self.length.size]
        for layer, activation in zip(self.layers, self.activations):
            h = activation(layer(h, call), call)
        back, ahead = self.curves.split(self.point("coefficients", self.out(h, call), call))
        back = self.point("backcast", self.back(back, call), call)
        return torch.cat([back, self.point("forecast", self.ahead(ahead, call), call)], -1), state
