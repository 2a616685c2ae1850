"""Sums of waves of all frequencies up to one.

    y = (a_0 + sum_{n <= most} a_n cos(n pi x) + b_n sin(n pi x)) / sqrt(1 + most)        a, b ~ N(0, 1)

Shapes   x (n,P,1), even in [-1,1]   y (n,P)
Source   arXiv 2306.04891    Slug  icl-bayesian-prism    Family  in context
Differs  the interval is [-1,1], where the source has [-5,5] and L = 5; values have variance 1
"""

from typing import Annotated

import numpy as np

from blockyard.core.draw import Draw
from blockyard.core.settings import Count
from blockyard.family._waves import Waves, waves


class Fourier(Waves):
    variants = (dict(dim=1), dict(dim=1, most=1))

    def __init__(self, dim: int, *, most: Annotated[Count, "the highest frequency, in half turns a unit"] = 5) -> None:
        super().__init__(dim)
        self.most = most

    def values(self, draw: Draw, x: np.ndarray) -> np.ndarray:
        weights = draw.normal(1, 1 + 2 * self.most)
        return (weights * waves(x, self.most)).sum(-1) * (1 + self.most) ** -0.5

    def covariance(self, x: np.ndarray, z: np.ndarray) -> np.ndarray:
        return waves(x, self.most) @ waves(z, self.most).swapaxes(-1, -2) / (1 + self.most)
