"""Every step of a window as a token, all variables side by side; behind them a token for each step that is asked for.

    x_t = W z_t + b  (+ P[t])        z = scaling(window) for t = 1..L, 0 for the H steps ahead

Shapes   tokens (B,L,C)   x (B,L+H,D)   W (D,C)
Source   arXiv 2012.07436, 2202.07125    Slug  time-series-survey    Family  series
Differs  window and steps ahead in one row, which tokens read both ways; columns of times are variables like others
"""

from typing import Annotated, Any

from torch import Tensor
from torch.nn.functional import pad

from blockyard.core import Batch, Call, Site, Spec, Stem
from blockyard.core.part import acting
from blockyard.core.settings import Asked, Horizon, PositionSpec, ScalingSpec, Variables, Window
from blockyard.parts.stem import _window


class TimePoints(Stem):
    reads = "series"
    around = dict(head=("points_ahead", {}))
    claims = dict(row_independent=True, bidirectional=True)
    variants = (
        dict(length=24, horizon=6), dict(length=24, horizon=5, channels=3, outputs=2, position="learned", scaling=None)
    )  # fmt: skip

    def __init__(
        self, site: Site, *, length: Window = 96, horizon: Horizon = 96, channels: Variables = 1, outputs: Asked = 1,
        scaling: ScalingSpec | None = Spec("norm", "instance"),
        position: Annotated[PositionSpec, "what tells the steps apart; none: nothing"] | None
        = Spec("position", "sinusoidal"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.length, self.channels, self.outputs = _window.axes(site, length, channels, outputs)
        self.length.fixed = "a window gives so many tokens"
        self.horizon = site.axis("horizon", horizon)
        self.horizon.ordered, self.horizon.fixed = True, "each step that is asked for is a token"
        self.scaling = _window.scaling(site, scaling, self.length)
        self.proj = site.linear("proj", self.channels, site.stream, bias=True)
        self.position = acting(site.slot("position", position), "at_input")
        site.hold("position", self.horizon.fixed)

    def example(self, rows: int, length: int, draw: Any = None) -> Batch:
        return _window.example(rows, self.length, self.channels, draw)

    def forward(self, batch: Batch, call: Call, state: Any = None) -> tuple[Tensor, Call, Any]:
        x = _window.read(batch, self.length, next(self.proj.parameters())).transpose(1, 2)
        x, call = _window.scaled(x, self.scaling, call.laid(self.length.size + self.horizon.size))
        x = self.proj(pad(x, (0, self.horizon.size)).transpose(1, 2), call)
        return (x if self.position is None else self.position.at_input(x, call)), call, state
