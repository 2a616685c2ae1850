"""Sums of a function of one family and one of another.

    y = (share f + (1 - share) g) / sqrt(share^2 + (1 - share)^2)

Shapes   x (n,P,d)   y (n,P)
Source   arXiv 2311.00871    Slug  icl-data-mixtures    Family  in context
Differs  values have variance 1 at every share
"""

from typing import Annotated

import numpy as np

from blockyard.core.draw import Draw
from blockyard.core.settings import Fraction, Word
from blockyard.family._base import Family, agreed, make_family


class Between(Family):
    variants = (dict(dim=4), dict(dim=1, second="sinusoid", share=0.2))
    known = False

    def __init__(
        self, dim: int, *, first: Annotated[Word, "the one family"] = "dense",
        second: Annotated[Word, "the other one"] = "sparse",
        share: Annotated[Fraction, "of the first in the sum"] = 0.5,
    ) -> None:  # fmt: skip
        super().__init__(dim)
        self.first, self.second, self.share = first, second, share
        self.members = [make_family(text, dim) for text in (first, second)]
        self.where = agreed(self.members)
        self.factors = np.array([share, 1 - share]) / np.hypot(share, 1 - share)

    def vectors(self, draw: Draw, points: int) -> np.ndarray:
        return self.members[0].vectors(draw, points)

    def drawn(self, seed: int, x: np.ndarray) -> np.ndarray:
        """Each from its own stream, so that at either end it is that family to the bit."""
        found = [float(factor) * each.drawn(seed, x) for factor, each in zip(self.factors, self.members) if factor]
        return sum(found[1:], found[0])

    def values(self, draw: Draw, x: np.ndarray) -> np.ndarray:
        first, second = (factor * each.values(draw, x) for factor, each in zip(self.factors, self.members))
        return first + second

    def covariance(self, x: np.ndarray, z: np.ndarray) -> np.ndarray:
        first, second = (each.covariance(x, z) for each in self.members)
        return self.factors[0] ** 2 * first + self.factors[1] ** 2 * second
