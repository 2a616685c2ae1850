"""Cut each variable of a window into segments as long as what is forecast, a token each; each variable is its own row.

    z = scaling(x)        r_k = z[kS .. kS+S-1]        x_k = W mean_m(r_k) + b  (+ P[k])

A segment may be pooled: of every m steps their mean is read. What stands in the segments goes on beside the tokens, for
stages to take from it what they say and for the head to add up what all of them said.

Shapes   tokens (B,L,C)   x (B*K,n,D), n = L // S, of the last n S steps   W (D, S/m)
Source   arXiv 2402.16516    Slug  gpht    Family  series
Differs  the mean of m steps, never their largest; where m does not divide S, their greatest common divisor
"""

import math
from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core import Batch, Call, Site, Spec, Stem, UsageError
from blockyard.core.part import acting
from blockyard.core.settings import Asked, Count, Horizon, PositionSpec, ScalingSpec, Variables, Window
from blockyard.parts.stem import _window


class SeriesSegments(Stem):
    reads = "series"
    around = dict(head=("next_segments", {}))
    claims = dict(row_independent=True, bidirectional=True)
    variants = (
        dict(length=24, horizon=6), dict(length=26, horizon=6, channels=3, outputs=2, pool=4, position="sinusoidal"),
        dict(length=12, horizon=4, scaling=None),
    )  # fmt: skip

    def __init__(
        self, site: Site, *, length: Window = 96, horizon: Horizon = 24, channels: Variables = 1, outputs: Asked = 1,
        pool: Annotated[Count, "steps of which the mean is read"] = 1,
        scaling: ScalingSpec | None = Spec("norm", "instance"), position: PositionSpec | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if length < horizon:
            raise UsageError(
                f"{site.path}: a window of {length} steps holds no segment of {horizon}; give a longer one"
            )
        self.length, self.channels, self.outputs = _window.axes(site, length, channels, outputs)
        self.segment, self.tokens = site.axis("segment", horizon), _window.fixed(site, length // horizon)
        self.pool = math.gcd(pool, horizon)
        self.patch = site.axis("patch", horizon // self.pool)
        for axis in (self.length, self.segment, self.patch):
            axis.ordered, axis.fixed = True, "how many tokens there are follows from the window and its segments"
        self.scaling = _window.scaling(site, scaling, self.length)
        self.proj = site.linear("proj", self.patch, site.stream, bias=True)
        self.position = acting(site.slot("position", position), "at_input")
        site.hold("position", self.tokens.fixed)

    def example(self, rows: int, length: int, draw: Any = None) -> Batch:
        return _window.example(rows, self.length, self.channels, draw)

    def forward(self, batch: Batch, call: Call, state: Any = None) -> tuple[Tensor, Call, Any]:
        x = _window.apart(batch, self.length, self.outputs, next(self.proj.parameters()))
        x = x[:, self.length.size - self.tokens.size * self.segment.size :]
        x, call = _window.scaled(x, self.scaling, call.laid(self.tokens.size, each=self.outputs.size))
        left = x.unflatten(1, (self.tokens.size, self.segment.size))
        call = call._replace(conditions={**call.conditions, "left": left, "said": torch.zeros_like(left)})
        x = self.proj(left.unflatten(-1, (-1, self.pool)).mean(-1), call)
        return (x if self.position is None else self.position.at_input(x, call)), call, state
