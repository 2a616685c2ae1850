"""Read a vector of numbers as a token: map it to the stream, and add positions where the slot holds one.

    x_t = W f_t + b  (+ P[p_t])

Shapes   frames (B,T,C)   x (B,T,D)   W (D,C)
Source   none    Family  stem
Differs  nothing known
"""

from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core import Batch, Call, Site, Stem
from blockyard.core.part import acting
from blockyard.core.settings import Count, PositionSpec


class Frames(Stem):
    reads = "frames"
    around = dict(head=("values", {}))
    points = ("frames", "embedded")
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, per_token=True)

    def __init__(
        self, site: Site, *, channels: Annotated[Count, "numbers of a frame"] = 1, position: PositionSpec | None = None
    ) -> None:
        super().__init__()
        self.channels = site.axis("channels", channels)
        self.channels.fixed = "the data have so many"
        self.proj = site.linear("proj", self.channels, site.stream, bias=True)
        self.position = acting(site.slot("position", position), "at_input")

    def example(self, rows: int, length: int, draw: Any = None) -> Batch:
        return Batch(torch.randn(rows, length, self.channels.size, generator=draw))

    def forward(self, batch: Batch, call: Call, state: Any = None) -> tuple[Tensor, Call, Any]:
        frames = self.point("frames", batch.tokens.to(next(self.proj.parameters()).dtype), call)
        x = self.point("embedded", self.proj(frames, call), call)
        if self.position is not None:
            x = self.position.at_input(x, call)
        return x, call, state
