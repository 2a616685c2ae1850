"""Read frames through two filters over time, the second of which halves their number; add positions from the slot.

    h_t = act(sum_u V_u f_{t+u-1} + c)        x_t = act(sum_u W_u h_{2t+u-1} + b)  (+ P[t])        u = 0, 1, 2

A token counts where its middle frame does; a frame that does not count is zero to both filters, as what lies beyond is.

Shapes   frames (B,F,C)   h (B,F,D)   x (B,T,D), T = F/2 rounded up   V (D,C,3)   W (D,D,3)
Source   arXiv 2212.04356    Family  stem
Differs  nothing known
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv1d

from blockyard.core import Batch, Call, Prod, Site, Spec, Stem, constant, normal
from blockyard.core.part import acting
from blockyard.core.settings import ActivationSpec, Channels, PositionSpec

TAPS, STRIDE = 3, 2


class ConvFrames(Stem):
    reads = "frames"
    around = dict(head=("classes", {}))
    claims = dict(row_independent=True, bidirectional=True)
    variants = (dict(channels=5), dict(channels=5, position="learned"))

    def __init__(
        self, site: Site, *, channels: Channels = 80, activation: ActivationSpec = Spec("activation", "gelu_exact"),
        position: PositionSpec | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.channels, inner, taps = (
            site.axis("channels", channels),
            site.axis("inner", site.stream.size),
            site.axis("taps", TAPS),
        )
        self.channels.fixed, taps.fixed = "the data have so many", "a filter has a middle and two sides"
        narrow, wide = (normal(Prod(reads, taps).size ** -0.5) for reads in (self.channels, inner))
        self.first = site.param("first", (inner, self.channels, taps), narrow, decay=True)
        self.first_bias = site.param("first_bias", (inner,), constant(0.0))
        self.second = site.param("second", (site.stream, inner, taps), wide, decay=True)
        self.second_bias = site.param("second_bias", (site.stream,), constant(0.0))
        self.activation = site.slot("activation", activation, on=inner)
        self.position = acting(site.slot("position", position), "at_input")

    def example(self, rows: int, length: int, draw: Any = None) -> Batch:
        return Batch(torch.randn(rows, STRIDE * length, self.channels.size, generator=draw))

    def forward(self, batch: Batch, call: Call, state: Any = None) -> tuple[Tensor, Call, Any]:
        frames = call.zero_invalid(batch.tokens.to(self.first.dtype)).transpose(1, 2)
        h = conv1d(frames, self.first, self.first_bias, padding=1).transpose(1, 2)
        h = call.zero_invalid(self.activation(h, call)).transpose(1, 2)
        x = conv1d(h, self.second, self.second_bias, STRIDE, padding=1).transpose(1, 2)
        valid = None if batch.valid is None else batch.valid[:, ::STRIDE]
        call = call.laid(x.shape[1])._replace(valid=valid, aligned=valid is None)
        x = self.activation(x, call)
        return (x if self.position is None else self.position.at_input(x, call)), call, state
