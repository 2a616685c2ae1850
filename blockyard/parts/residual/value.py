"""Beside the stream, let the values of the first layer be mixed into those of later ones, before anything weighs them.

    v_l <- (1 - s) v_l + s v_1,  l > 1        x <- x + F(N(x))        s fixed, or two learned numbers a layer

The values are those that a mixer names at its hook point v, of whatever it makes of them; the first ones are carried
with the token, so that a cache holds what was mixed. A sublayer without values is behind pre-norm, and so is one whose
values are of another shape than the first ones, or not one a token of the stream: it keeps its own. Where a rule of
another kind comes between, and at a junction, the next layer is the first one.

Shapes   x (B,T,D)   v (B,T,...), as the mixer has them
Source   arXiv 2410.17897    Family  residual
Differs  one share for all layers; where it is learned, the first layer of each kind of mixer keeps the fixed one
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Site, Spec, constant
from blockyard.core.settings import Fraction, NormSpec
from blockyard.parts.residual._values import CarriesValues, Meeting


class Value(CarriesValues):
    claims = dict(per_token=True, row_independent=True)
    variants = ({}, dict(share=0.3, learned=True))

    def __init__(
        self, site: Site, *, share: Annotated[Fraction, "what the first values count; where it is learned, at first"]
        = 0.5,
        learned: Annotated[bool, "whether every later layer learns what both values count"] = False,
        norm: Annotated[NormSpec, "the norm of what a sublayer reads"] = Spec("norm", "rms"),
    ) -> None:  # fmt: skip
        super().__init__(site, norm)
        self.share, self.learned = share, learned
        self.own: Any = 1 - share
        self.first: Any = share

    def met(self, part: Any, site: Site) -> None:
        if self.learned:
            self.own = site.param("own", (), constant(1 - self.share))
            self.first = site.param("first", (), constant(self.share))

    def mixed(self, v: Tensor, meeting: Meeting) -> Tensor:
        return self.own * v + self.first * meeting.first
