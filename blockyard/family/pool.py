"""One of a few linear functions that never change.

    y = w_m.x / sqrt(d)        m of `count`, each as likely; w_1 ... w_count ~ N(0, I), drawn once from `seed`

Who has learned the pool weighs its members by how well they explain the examples (dMMSE).

Shapes   x (n,P,d)   y (n,P)
Source   arXiv 2306.15063    Slug  icl-task-diversity    Family  in context
Differs  values have variance 1 over all pools, not of each
"""

from typing import Annotated

import numpy as np

from blockyard.core.draw import Draw
from blockyard.core.settings import Count, Natural
from blockyard.family._base import Family, Posterior
from blockyard.predictor.bayes import of_pool


class Pool(Family):
    variants = (dict(dim=4), dict(dim=3, count=50, seed=5))
    unit = False

    def __init__(
        self, dim: int, *, count: Annotated[Count, "functions in the pool"] = 16,
        seed: Annotated[Natural, "what the pool is drawn from"] = 0,
    ) -> None:  # fmt: skip
        super().__init__(dim)
        self.count, self.seed = count, seed
        self.weights = Draw(seed, count, stream=1).normal(dim) * dim**-0.5  # (M,d)

    def values(self, draw: Draw, x: np.ndarray) -> np.ndarray:
        return (self.weights[draw.below(self.count, 1)] * x).sum(-1)

    def covariance(self, x: np.ndarray, z: np.ndarray) -> np.ndarray:
        return (x @ self.weights.T) @ (z @ self.weights.T).swapaxes(-1, -2) / self.count

    def posterior(self, x: np.ndarray, y: np.ndarray, queries: np.ndarray, noise: float) -> Posterior:
        return of_pool(x @ self.weights.T, y, queries @ self.weights.T, noise)
