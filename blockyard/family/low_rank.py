"""Linear functions whose weights are a matrix of low rank, read as a vector.

    y = sum_ij (U V')_ij X_ij / sqrt(rank side^2)        X: x as a matrix of `side` rows and columns, side^2 = d
    U, V (side,rank) ~ N(0, I)

Shapes   x (n,P,d)   y (n,P)
Source   arXiv 2306.04891    Family  in context
Differs  values have variance 1; the posterior is the best that is linear in y, which knows nothing of ranks
"""

from math import isqrt
from typing import Annotated

import numpy as np

from blockyard.core.draw import Draw
from blockyard.core.errors import UsageError
from blockyard.core.settings import Count
from blockyard.family._base import Family


class LowRank(Family):
    variants = (dict(dim=4), dict(dim=9, rank=2))
    known = False

    def __init__(self, dim: int, *, rank: Annotated[Count, "columns of the two factors"] = 1) -> None:
        super().__init__(dim)
        self.rank, self.side = rank, isqrt(dim)
        if self.side**2 != dim:
            raise UsageError(f"low_rank: a matrix of {dim} numbers is not square; dim must be 1, 4, 9, 16, ...")

    def values(self, draw: Draw, x: np.ndarray) -> np.ndarray:
        left, right = draw.normal(2, self.side, self.rank).swapaxes(0, 1)
        weights = (left @ right.swapaxes(-1, -2)).reshape(len(x), 1, self.dim)
        return (weights * x).sum(-1) * (self.rank * self.dim) ** -0.5

    def covariance(self, x: np.ndarray, z: np.ndarray) -> np.ndarray:
        return x @ z.swapaxes(-1, -2) / self.dim
