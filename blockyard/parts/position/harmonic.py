"""Lower a score by a harmonic number of the distance, beside a rotation: a penalty that grows like a logarithm.

    bias_h(d) = -slope 2^(-8 h / H) Har(|d|),  h = 1..H        Har(n) = 1 + 1/2 + ... + 1/n,  Har(0) = 0

Slots: what turns queries and keys beside it (`turn`).

Shapes   table (H, 2n-1)
Source   arXiv 2410.18441    Slug  generative-math-modeling    Family  position
Differs  a reading of a proposal that the source does not test; `harmonic_factor` is its other form
"""

from typing import Annotated

import torch
from torch import Tensor

from blockyard.core import Site, Spec
from blockyard.core.settings import NonNegative, PositionSpec
from blockyard.parts.position._harmonic import HarmonicBase


class Harmonic(HarmonicBase):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, bidirectional=True, any_order=True)
    variants = ({}, dict(turn=None))

    def __init__(
        self, site: Site, *, slope: Annotated[NonNegative, "factor on all slopes; 0: no penalty"] = 1.0,
        turn: Annotated[PositionSpec, "what turns queries and keys beside the penalty; none: nothing"]
        | None = Spec("position", "rope"),
    ) -> None:  # fmt: skip
        super().__init__(site, slope, turn)

    def by_distance(self, n: int) -> Tensor:
        return -self.penalty(n)[:, (torch.arange(2 * n - 1) - (n - 1)).abs()]
