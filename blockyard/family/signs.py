"""Linear functions whose weights are all plus or minus one.

    y = w.x / sqrt(d)        w_j = +1 or -1, each as likely

Every w is tried: the posterior is that of a pool of 2^d.

Shapes   x (n,P,d)   y (n,P)
Source   arXiv 2306.04891    Family  in context
Differs  values have variance 1
"""

from itertools import product

import numpy as np

from blockyard.core.draw import Draw
from blockyard.core.errors import UsageError
from blockyard.family._base import Family, Posterior
from blockyard.predictor.bayes import of_pool

MOST = 10  # numbers, of whose signs all are tried


class Signs(Family):
    variants = (dict(dim=4),)

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        if dim > MOST:
            raise UsageError(f"signs of {dim} numbers: at most {MOST}, of whose signs all can be tried")

    def values(self, draw: Draw, x: np.ndarray) -> np.ndarray:
        return ((2.0 * draw.below(2, 1, self.dim) - 1) * x).sum(-1) * self.dim**-0.5

    def covariance(self, x: np.ndarray, z: np.ndarray) -> np.ndarray:
        return x @ z.swapaxes(-1, -2) / self.dim

    def posterior(self, x: np.ndarray, y: np.ndarray, queries: np.ndarray, noise: float) -> Posterior:
        pool = np.array([*product((-1.0, 1.0), repeat=self.dim)]).T * self.dim**-0.5
        return of_pool(x @ pool, y, queries @ pool, noise)
