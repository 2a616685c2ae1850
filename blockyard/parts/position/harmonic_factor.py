"""Divide a score by one and a harmonic number of the distance, beside a rotation: far keys are weighed more evenly.

    z_h(d) <- z_h(d) / (1 + slope 2^(-8 h / H) Har(|d|)),  h = 1..H        Har(n) = 1 + 1/2 + ... + 1/n,  Har(0) = 0

A score is drawn towards 0 whatever its sign, so that a key which does not fit gains by the distance.

Slots: what turns queries and keys beside it (`turn`).

Shapes   z (B,H,T,S)
Source   arXiv 2410.18441    Slug  generative-math-modeling    Family  position
Differs  a reading of a proposal that the source does not test; `harmonic` is its other form
"""

from typing import Annotated

from torch import Tensor

from blockyard.core import Call, Site, Spec, distances, max_distance
from blockyard.core.settings import NonNegative, PositionSpec
from blockyard.parts.position._harmonic import HarmonicBase


class HarmonicFactor(HarmonicBase):
    rescores = True
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, bidirectional=True, any_order=True)
    unrecorded = "scores that are changed one by one are no instruction yet"
    variants = ({}, dict(turn=None))

    def __init__(
        self, site: Site, *, slope: Annotated[NonNegative, "factor on all slopes; 0: scores as they are"] = 1.0,
        turn: Annotated[PositionSpec, "what turns queries and keys beside it; none: nothing"]
        | None = Spec("position", "rope"),
    ) -> None:  # fmt: skip
        super().__init__(site, slope, turn)

    def at_scores(self, scores: Tensor, q: Tensor, call: Call, positions: Tensor | None) -> Tensor:
        penalty = self.penalty(max_distance(call), scores.device).to(scores.dtype)
        return scores / (1 + penalty[:, distances(call, positions).abs()].transpose(0, 1))
