"""Read an image as a row of square patches behind a learned class token, whose output stands for the whole.

    x_0 = c (+ P[0])        x_n+1 = W vec(image[P i : P (i+1), P j : P (j+1)]) + b  (+ P[n+1])        n = i (W/P) + j

Shapes   images (B,H,W,C)   x (B,1+N,D), N = (H/P) (W/P)   W (D, P P C)   c (D)
Source   arXiv 2010.11929    Family  stem
Differs  nothing known
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from blockyard.core import Batch, Call, Site, Spec, Stem, UsageError, normal
from blockyard.core.part import acting
from blockyard.core.settings import Channels, Height, Patch, PositionSpec, Width
from blockyard.parts.stem._cut import Cut


class ClassPatches(Stem):
    reads = "images"
    points = ("embedded",)
    claims = dict(row_independent=True, bidirectional=True)
    around = dict(head=("class_token", {}))
    variants = (dict(height=8, width=8),)

    def __init__(
        self, site: Site, *, height: Height = 32, width: Width = 32, patch: Patch = 4, channels: Channels = 3,
        position: PositionSpec | None = Spec("position", "learned"),
    ) -> None:  # fmt: skip
        super().__init__()
        if site.causal:
            raise UsageError(f"{site.path}: a class token stands first and must see what follows: model.causal=no")
        self.cut = Cut(site, height, width, patch, channels)
        self.proj = site.linear("proj", self.cut.square, site.stream, bias=True, gain=site.steps**0.5)
        self.token = site.param("token", (site.stream,), normal(0.02))
        self.position = acting(replace(site, length=1 + self.cut.count).slot("position", position), "at_input")
        site.hold("position", "an image is cut into so many squares")

    def example(self, rows: int, length: int, draw: Any = None) -> Batch:
        return Batch(self.cut.example(rows, draw))

    def forward(self, batch: Batch, call: Call, state: Any = None) -> tuple[Tensor, Call, Any]:
        call = call.laid(1 + self.cut.count)
        x = self.proj(self.cut.squares(batch.tokens, next(self.proj.parameters()).dtype), call)
        x = self.point("embedded", x, call)
        x = torch.cat([self.token.to(x.dtype).expand(len(x), 1, -1), x], 1)
        if self.position is not None:
            x = self.position.at_input(x, call)
        return x, call, state
