"""Read an image as a row of square patches, each mapped to a token; add positions where the slot holds one.

    x_n = W vec(image[P i : P (i+1), P j : P (j+1)]) + b  (+ P[n])        n = i (W/P) + j

Shapes   images (B,H,W,C)   x (B,N,D), N = (H/P) (W/P)   W (D, P P C)
Source   arXiv 2010.11929    Family  stem
Differs  no class token: class_patches has one
"""

from dataclasses import replace
from typing import Any

from torch import Tensor

from blockyard.core import Batch, Call, Site, Spec, Stem
from blockyard.core.part import acting
from blockyard.core.settings import Channels, Height, Patch, PositionSpec, Width
from blockyard.parts.stem._cut import Cut


class Patches(Stem):
    reads = "images"
    points = ("embedded",)
    claims = dict(row_independent=True, bidirectional=True)
    around = dict(head=("classes", {}))
    variants = ({}, dict(height=4, width=8, patch=2, channels=3, position="sinusoidal_2d"))

    def __init__(
        self, site: Site, *, height: Height = 32, width: Width = 32, patch: Patch = 4, channels: Channels = 3,
        position: PositionSpec | None = Spec("position", "learned"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.cut = Cut(site, height, width, patch, channels)
        self.grid = self.cut.grid
        self.proj = site.linear("proj", self.cut.square, site.stream, bias=True, gain=site.steps**0.5)
        self.position = acting(replace(site, length=self.cut.count).slot("position", position), "at_input")
        site.hold("position", "an image is cut into so many squares")

    def example(self, rows: int, length: int, draw: Any = None) -> Batch:
        return Batch(self.cut.example(rows, draw))

    def forward(self, batch: Batch, call: Call, state: Any = None) -> tuple[Tensor, Call, Any]:
        call = call.laid(self.cut.count, self.grid)
        x = self.proj(self.cut.squares(batch.tokens, next(self.proj.parameters()).dtype), call)
        x = self.point("embedded", x, call)
        if self.position is not None:
            x = self.position.at_input(x, call)
        return x, call, state
