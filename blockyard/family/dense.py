"""Linear functions of normal weights.

    y = w.x / sqrt(d)        w ~ N(0, I)

Shapes   x (n,P,d)   y (n,P)
Source   arXiv 2208.01066    Family  in context
Differs  values have variance 1
"""

import numpy as np

from blockyard.core.draw import Draw
from blockyard.family._base import Family


class Dense(Family):
    variants = (dict(dim=4), dict(dim=1))

    def values(self, draw: Draw, x: np.ndarray) -> np.ndarray:
        return (draw.normal(1, self.dim) * x).sum(-1) * self.dim**-0.5

    def covariance(self, x: np.ndarray, z: np.ndarray) -> np.ndarray:
        return x @ z.swapaxes(-1, -2) / self.dim
