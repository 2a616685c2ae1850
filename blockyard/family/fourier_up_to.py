"""Sums of waves up to a frequency that is drawn, too: simple functions are as likely as others.

    f of fourier(most=N)        N = 1 ... most, each as likely

Shapes   x (n,P,1), even in [-1,1]   y (n,P)
Source   arXiv 2306.04891    Slug  icl-bayesian-prism    Family  in context
Differs  values have variance 1 at every N
"""

from typing import Annotated

import numpy as np

from blockyard.core.draw import Draw
from blockyard.core.settings import Count
from blockyard.family._base import Posterior
from blockyard.family._waves import Waves, waves
from blockyard.predictor.bayes import of_features, of_mixture


class FourierUpTo(Waves):
    variants = (dict(dim=1), dict(dim=1, most=1))

    def __init__(self, dim: int, *, most: Annotated[Count, "the highest frequency that is drawn"] = 5) -> None:
        super().__init__(dim)
        self.most = most

    def values(self, draw: Draw, x: np.ndarray) -> np.ndarray:
        weights, highest = draw.normal(1, 1 + 2 * self.most), 1 + draw.below(self.most, 1)
        frequency = (np.arange(1 + 2 * self.most) + 1) // 2
        kept = np.where(frequency <= highest, weights[:, 0], 0) * (1 + highest) ** -0.5
        return (kept[:, None] * waves(x, self.most)).sum(-1)

    def covariance(self, x: np.ndarray, z: np.ndarray) -> np.ndarray:
        found = [waves(x, n) @ waves(z, n).swapaxes(-1, -2) / (1 + n) for n in range(1, self.most + 1)]
        return np.mean(found, 0)

    def posterior(self, x: np.ndarray, y: np.ndarray, queries: np.ndarray, noise: float) -> Posterior:
        found = [
            of_features(waves(x, most), y, waves(queries, most), noise, (1 + most) ** -0.5)
            for most in range(1, self.most + 1)
        ]
        return of_mixture([1 / self.most] * self.most, found)
