"""Linear functions of few numbers, which ones is drawn.

    y = sum_{j in S} w_j x_j / sqrt(count)        S of `count` numbers, each as likely; w ~ N(0, I)

Every S is tried: the posterior is a mixture over all of them.

Shapes   x (n,P,d)   y (n,P)
Source   arXiv 2311.00871    Family  in context
Differs  values have variance 1
"""

from itertools import combinations
from math import comb
from typing import Annotated

import numpy as np

from blockyard.core.draw import Draw
from blockyard.core.errors import UsageError
from blockyard.core.settings import Count
from blockyard.family._base import Family, Posterior
from blockyard.predictor.bayes import of_features, of_mixture

MOST = 1000  # sets that are tried


class Sparse(Family):
    variants = (dict(dim=6), dict(dim=4, count=1), dict(dim=3, count=3))

    def __init__(self, dim: int, *, count: Annotated[Count, "numbers that matter"] = 2) -> None:
        super().__init__(dim)
        self.count = count
        if count > dim or comb(dim, count) > MOST:
            raise UsageError(f"sparse(count={count}) of {dim} numbers: there must be 1 to {MOST} sets of them to try")

    def values(self, draw: Draw, x: np.ndarray) -> np.ndarray:
        weights = draw.normal(1, self.dim)
        kept = draw.order(self.dim)[:, None] < self.count
        return (np.where(kept, weights, 0) * x).sum(-1) * self.count**-0.5

    def covariance(self, x: np.ndarray, z: np.ndarray) -> np.ndarray:
        return x @ z.swapaxes(-1, -2) / self.dim

    def posterior(self, x: np.ndarray, y: np.ndarray, queries: np.ndarray, noise: float) -> Posterior:
        sets = [list(each) for each in combinations(range(self.dim), self.count)]
        found = [of_features(x[..., s], y, queries[..., s], noise, self.count**-0.5) for s in sets]
        return of_mixture([1 / len(sets)] * len(sets), found)
