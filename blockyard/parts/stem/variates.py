"""Each variable's whole window as a token, mapped to the stream: what mixes tokens mixes variables.

    x_c = W scaling(window_c) + b        c = 1..C, without positions: variables have no order

Shapes   tokens (B,L,C)   x (B,C,D)   W (D,L)
Source   arXiv 2310.06625    Slug  itransformer    Family  series
Differs  columns that say what time it is are variables like others
"""

from typing import Any

from torch import Tensor

from blockyard.core import Batch, Call, Site, Spec, Stem
from blockyard.core.settings import Asked, ScalingSpec, Variables, Window
from blockyard.parts.stem import _window


class Variates(Stem):
    reads = "series"
    around = dict(head=("variates", {}))
    claims = dict(row_independent=True, bidirectional=True)
    variants = ({}, dict(length=24, channels=3, outputs=2), dict(channels=2, scaling=None))

    def __init__(
        self, site: Site, *, length: Window = 96, channels: Variables = 1, outputs: Asked = 1,
        scaling: ScalingSpec | None = Spec("norm", "instance"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.length, self.channels, self.outputs = _window.axes(site, length, channels, outputs)
        self.variates = _window.fixed(site, channels, "variates")
        self.scaling = _window.scaling(site, scaling, self.length)
        self.proj = site.linear("proj", self.length, site.stream, bias=True)

    def example(self, rows: int, length: int, draw: Any = None) -> Batch:
        return _window.example(rows, self.length, self.channels, draw)

    def forward(self, batch: Batch, call: Call, state: Any = None) -> tuple[Tensor, Call, Any]:
        x = _window.read(batch, self.length, next(self.proj.parameters())).transpose(1, 2)
        x, call = _window.scaled(x, self.scaling, call.laid(x.shape[1]))
        return self.proj(x, call), call, state
