"""Each variable's whole window as one token, with an empty place for every step ahead behind it.

    x_1 = [scaling(window) | 0 .. 0]        L places, then H

Steps that foretell write into the places behind the window; head:said_ahead reads what stands there at the end.

Shapes   tokens (B,L,C)   x (B*K,1,L+H): the stream is as wide as a window and what follows it are long
Source   arXiv 1905.10437    Family  series
Differs  nothing known
"""

from typing import Annotated, Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from blockyard.core import Batch, Call, Site, Stem, UsageError
from blockyard.core.settings import Asked, Horizon, ScalingSpec, Variables, Window
from blockyard.parts.stem import _window


class HistoryAhead(Stem):
    reads = "series"
    around = dict(head=("said_ahead", {}))
    claims = dict(row_independent=True, bidirectional=True)
    variants = (dict(channels=2, outputs=2), dict(horizon=5, channels=3, outputs=2, scaling="instance"))

    def __init__(
        self, site: Site, *, channels: Variables = 1, outputs: Asked = 1,
        length: Annotated[Window, "steps of a window; none: the channels that the steps ahead leave"] | None = None,
        horizon: Annotated[Horizon, "steps to forecast; none: a quarter of the stream's channels"] | None = None,
        scaling: ScalingSpec | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        room = site.stream.size
        horizon = horizon or max(1, room // 4)
        length = length or max(1, room - horizon)
        if length + horizon != room:
            said = f"length={length} and horizon={horizon} are {length + horizon}, and the stream has dim={room}"
            raise UsageError(f"{site.path}: a token is a window and the steps ahead: {said}")
        self.length, self.channels, self.outputs = _window.axes(site, length, channels, outputs)
        self.horizon, self.tokens = site.axis("horizon", horizon), _window.fixed(site, 1)
        self.horizon.ordered = True
        for axis in (self.length, self.horizon, *site.stream.leaves()):
            axis.fixed = "a token is a whole window with a place for each step ahead"
        self.scaling = _window.scaling(site, scaling, self.length)
        self.like = site.buffer("like", lambda _: torch.zeros(0))

    def example(self, rows: int, length: int, draw: Any = None) -> Batch:
        return _window.example(rows, self.length, self.channels, draw)

    def forward(self, batch: Batch, call: Call, state: Any = None) -> tuple[Tensor, Call, Any]:
        x = _window.apart(batch, self.length, self.outputs, self.like)
        x, call = _window.scaled(x, self.scaling, call.laid(1, each=self.outputs.size))
        return pad(x, (0, self.horizon.size))[:, None], call, state
