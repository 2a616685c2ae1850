"""Each variable's whole window as one token, as it stands; every variable is a row of its own.

    x_1 = scaling(window)

Shapes   tokens (B,L,C)   x (B*K,1,L): the stream is as wide as a window is long
Source   arXiv 2205.13504    Slug  ltsf-linear    Family  series
Differs  nothing known
"""

from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core import Batch, Call, Site, Stem
from blockyard.core.settings import Asked, ScalingSpec, Variables, Window
from blockyard.parts.stem import _window


class History(Stem):
    reads = "series"
    around = dict(head=("steps_ahead", {}))
    claims = dict(row_independent=True, bidirectional=True)
    variants = (dict(channels=2, outputs=2), dict(channels=3, outputs=2, scaling="from_last"))

    def __init__(
        self, site: Site, *, channels: Variables = 1, outputs: Asked = 1,
        length: Annotated[Window, "steps of a window; none: as many as the stream has channels"] | None = None,
        scaling: ScalingSpec | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.length, self.channels, self.outputs = _window.axes(site, length or site.stream.size, channels, outputs)
        _window.whole(site, self.length)
        self.tokens = _window.fixed(site, 1)
        self.scaling = _window.scaling(site, scaling, self.length)
        self.like = site.buffer("like", lambda _: torch.zeros(0))

    def example(self, rows: int, length: int, draw: Any = None) -> Batch:
        return _window.example(rows, self.length, self.channels, draw)

    def forward(self, batch: Batch, call: Call, state: Any = None) -> tuple[Tensor, Call, Any]:
        x = _window.apart(batch, self.length, self.outputs, self.like)
        x, call = _window.scaled(x, self.scaling, call.laid(1, each=self.outputs.size))
        return x[:, None], call, state
