"""Beside the stream, let a gate of every channel mix the values of the first layer into those of later ones.

    v_l <- v_l + s (v_1 - v_l), l > 1        s = sigmoid(b + U V u_l)        x <- x + F(N(x))

The values are those that a mixer names at its hook point v, and u is what it makes them of, at its point v_in; of a
mixer without one, what the sublayer reads. The first values are carried with the token, so that a state holds what was
mixed. A sublayer without values is behind pre-norm.

Shapes   x, u (B,T,D)   v, s (B,T,H,V)   V (rank,D)   U (H V,rank)   b (H V)
Source   arXiv 2503.14456    Family  residual
Differs  gates are half open at first (paper: a curve along the channels)
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Call, Site, Spec, UsageError
from blockyard.core.settings import NormSpec, Rank
from blockyard.parts.residual._values import CarriesValues, Meeting

SOURCE = "v_in"


class ValueGated(CarriesValues):
    claims = dict(per_token=True, row_independent=True)

    def __init__(
        self, site: Site, *, rank: Annotated[Rank, "channels between the two thin matrices that set the gate"] = 32,
        norm: Annotated[NormSpec, "the norm of what a sublayer reads"] = Spec("norm", "rms"),
    ) -> None:  # fmt: skip
        super().__init__(site, norm)
        self.rank, self.gate, self.named = rank, None, False

    def met(self, part: Any, site: Site) -> None:
        if part.value_axis is None:
            raise UsageError(
                f"{site.path}: residual:{self.spec.name} gates values, and {part.spec.name} does not say theirs"
            )
        thin = Spec.of("linear", "low_rank", dict(rank=self.rank))
        self.gate = site.linear("gate", site.stream, part.value_axis, bias=True, kind=thin)
        self.named = SOURCE in part.points

    def handed(self, carry: Any, call: Call) -> Call:
        call = super().handed(carry, call)
        if self.gate is None or call.points is None:
            return call
        meeting = call.points[self.holder, "v"]
        if not self.named:
            meeting.made_of = self.norm(carry[0], call)
            return call
        asked = call.points.get((self.holder, SOURCE))

        def noted(u: Tensor) -> Tensor:
            if asked == "read":
                call.capture(self.holder, SOURCE, u)
            meeting.made_of = u if asked in (None, "read") else asked(u)
            return meeting.made_of

        return call._replace(points={**call.points, (self.holder, SOURCE): noted})

    def mixed(self, v: Tensor, meeting: Meeting) -> Tensor:
        if self.gate is None:
            return v
        share = self.gate(meeting.made_of, meeting.call).sigmoid().view_as(v)
        return v * (1 - share) + meeting.first * share
