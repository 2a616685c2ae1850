"""Turn pairs of channels by learned angles, each of several stripes of channels a further part of a whole turn.

    (a, b) <- (a cos w - b sin w, a sin w + b cos w)        w = theta_m + 2 pi i / N
    i = 0 .. N-1: the stripe        m: the pair in it, channels m and m + D / 2N of the stripe
    theta = (l + 1) pi / 2L at first, in the l-th of the L steps that turn; shared by the stripes

It keeps every size and can be undone: for a rule that replaces the stream (residual:replace).

Shapes   x (B,T,D)   theta (D / 2N)
Source   arXiv 2604.14430    Slug  three-phase    Family  channel
Differs  halves of a stripe are paired, as in rotary positions here, not neighbours
"""

from math import pi
from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core import Call, Site, Sublayer, constant, upcast
from blockyard.core.settings import Count


class Rotate(Sublayer):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, per_token=True, time_exponent=1.0)
    variants = ({}, dict(stripes=1), dict(stripes=3))

    def __init__(self, site: Site, *, stripes: Annotated[Count, "runs of channels that turn apart"] = 2) -> None:
        super().__init__()
        pairs = site.axis("pairs", site.divide("2 * stripes", site.stream.size, 2 * stripes))
        for axis in (pairs, *site.stream.leaves()):
            axis.fixed = "its channels turn in pairs"
        self.theta = site.param("theta", (pairs,), constant((site.ordinal + 1) * pi / (2 * site.alike)))
        self.stripes = stripes

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        turned, halves = [], x.chunk(2 * self.stripes, -1)
        for i, (a, b) in enumerate(zip(halves[::2], halves[1::2])):
            angle = upcast(self.theta) + 2 * pi * i / self.stripes
            cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
            turned += [a * cos + b * -sin, a * sin + b * cos]
        return torch.cat(turned, -1), state
