"""Every token says the segment behind its own; that is taken from the series, and what is left enters the next stage.

    o_k = W x_k + b        said_k += o_k        r_k -= o_{k-1},  o_{-1} = 0        x'_k = V mean_m(r_k) + c  (+ P[k])

A stage that foretells the segments leaves nothing of them but the first. This is a residual in the space of the data,
around whole stacks, where a residual of the stream goes around sublayers.

Shapes   x, x' (R,n,D)   o, said, r (R,n,S)   W (S,D)   V (D, S/m)
Source   arXiv 2402.16516    Slug  gpht    Family  junction
Differs  where m does not divide S, their greatest common divisor
"""

import math
from typing import Annotated, Any

from torch import Tensor
from torch.nn.functional import pad

from blockyard.core import Call, Junction, Site, UsageError
from blockyard.core.part import acting
from blockyard.core.settings import Count, PositionSpec


class NextStage(Junction):
    claims = dict(row_independent=True, bidirectional=True)
    around = dict(stem=("series_segments", dict(length=24, horizon=6)), head=("next_segments", {}))
    points = ("said",)
    variants = ({}, dict(pool=3, position="sinusoidal"))

    def __init__(
        self, site: Site, *, pool: Annotated[Count, "steps of which the mean is read"] = 1,
        position: PositionSpec | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        segment = site.axis_of("stem.segment")
        if segment is None:
            raise UsageError(f"{site.path}: stages stand behind stem:series_segments, whose segments they say")
        self.pool = math.gcd(pool, segment.size)
        self.patch = site.axis("patch", segment.size // self.pool)
        self.patch.ordered, self.patch.fixed = True, "a segment gives so many"
        self.say = site.linear("say", site.stream, segment, bias=True)
        self.proj = site.linear("proj", self.patch, site.stream, bias=True)
        self.position = acting(site.slot("position", position), "at_input")

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Call, Any]:
        said = self.point("said", self.say(x, call), call)
        left = call.conditions["left"] - pad(said, (0, 0, 1, 0))[:, :-1]
        behind = {"left": left, "said": call.conditions["said"] + said}
        call = call._replace(conditions={**call.conditions, **behind})
        x = self.proj(left.unflatten(-1, (-1, self.pool)).mean(-1), call)
        return (x if self.position is None else self.position.at_input(x, call)), call, state
