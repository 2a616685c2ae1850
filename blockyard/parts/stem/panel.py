"""Windows of many series side by side, a token for each step of each; every series is a row of its own.

    x_t = W f_t + b  (+ P[t])        f_t the features of a series at step t

Shapes   tokens (B,S,L,F)   x (B*S,L,D)   W (D,F)
Source   arXiv 2506.16746    Slug  sspt    Family  series
Differs  learned positions begin small (source: normal numbers of variance 1)
"""

from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core import Batch, Call, Site, Spec, Stem, UsageError
from blockyard.core.part import acting
from blockyard.core.settings import Count, PositionSpec, Window


class Panel(Stem):
    reads = "panels"
    around = dict(head=("panel_scores", {}))
    points = ("embedded",)
    claims = dict(row_independent=True, bidirectional=True)
    variants = ({}, dict(length=9, features=3, series=4))

    def __init__(
        self, site: Site, *, length: Window = 16, features: Annotated[Count, "numbers of a step"] = 1,
        series: Annotated[Count, "series side by side"] = 2,
        position: Annotated[PositionSpec, "what tells the steps apart; none: nothing"] | None
        = Spec("position", "sinusoidal"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.shape = site.axis("series", series), site.axis("length", length), site.axis("features", features)
        for axis in self.shape:
            axis.fixed = "the data have so many"
        self.shape[1].ordered = True
        self.proj = site.linear("proj", self.shape[2], site.stream, bias=True)
        self.position = acting(site.slot("position", position), "at_input")
        site.hold("position", self.shape[1].fixed)

    def example(self, rows: int, length: int, draw: Any = None) -> Batch:
        return Batch(torch.randn(rows, *(axis.size for axis in self.shape), generator=draw))

    def forward(self, batch: Batch, call: Call, state: Any = None) -> tuple[Tensor, Call, Any]:
        series, length, features = (axis.size for axis in self.shape)
        if batch.tokens.shape[1:] != (series, length, features):
            raise UsageError(
                f"this stem reads {series} series of {length} steps with {features} numbers each, not "
                f"{' x '.join(map(str, batch.tokens.shape[1:]))}"
            )
        x = batch.tokens.to(next(self.proj.parameters()).dtype).flatten(0, 1)
        call = call.laid(length, each=series)
        x = self.point("embedded", self.proj(x, call), call)
        return (x if self.position is None else self.position.at_input(x, call)), call, state
