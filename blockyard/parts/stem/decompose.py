"""Each variable's window as two tokens, its trend and the rest; every variable is a row of its own.

    t = moving average of z = scaling(window), its first and last value repeated beyond its ends
    x_1 = z - t        x_2 = t

Shapes   tokens (B,L,C)   x (B*K,2,L): the stream is as wide as a window is long
Source   arXiv 2205.13504    Slug  ltsf-linear    Family  series
Differs  an even average is refused
"""

from typing import Annotated, Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d, pad

from blockyard.core import Batch, Call, Site, Stem, UsageError
from blockyard.core.settings import Asked, Count, ScalingSpec, Variables, Window
from blockyard.parts.stem import _window


class Decompose(Stem):
    reads = "series"
    around = dict(head=("steps_ahead", {}))
    claims = dict(row_independent=True, bidirectional=True)
    variants = (dict(channels=2, outputs=2), dict(average=5, channels=3, outputs=2, scaling="centred"))

    def __init__(
        self, site: Site, *, channels: Variables = 1, outputs: Asked = 1,
        length: Annotated[Window, "steps of a window; none: as many as the stream has channels"] | None = None,
        average: Annotated[Count, "steps that the trend is the mean of, an odd number"] = 25,
        scaling: ScalingSpec | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if not average % 2:
            raise UsageError(f"{site.path}: average={average} has no middle; take an odd number")
        self.length, self.channels, self.outputs = _window.axes(site, length or site.stream.size, channels, outputs)
        _window.whole(site, self.length)
        self.tokens, self.average = _window.fixed(site, 2), average
        self.scaling = _window.scaling(site, scaling, self.length)
        self.like = site.buffer("like", lambda _: torch.zeros(0))

    def example(self, rows: int, length: int, draw: Any = None) -> Batch:
        return _window.example(rows, self.length, self.channels, draw)

    def forward(self, batch: Batch, call: Call, state: Any = None) -> tuple[Tensor, Call, Any]:
        x = _window.apart(batch, self.length, self.outputs, self.like)
        x, call = _window.scaled(x, self.scaling, call.laid(2, each=self.outputs.size))
        beyond = self.average // 2
        trend = avg_pool1d(pad(x[:, None], (beyond, beyond), mode="replicate"), self.average, 1)[:, 0]
        return torch.stack([x - trend, trend], 1), call, state
