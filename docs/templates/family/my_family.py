"""Linear functions whose weights are all alike: the sum of a vector's numbers, times one number.

    y = w (x_1 + ... + x_d) / sqrt(d)        w ~ N(0, 1)

Shapes   x (n,P,d)   y (n,P)
Source   none    Family  in context
Differs  nothing known
"""

import numpy as np

from blockyard.core.draw import Draw
from blockyard.family._base import Family


class MyFamily(Family):
    """Values are jointly normal: the posterior of the base class is exact."""

    variants = (dict(dim=4), dict(dim=1))

    def values(self, draw: Draw, x: np.ndarray) -> np.ndarray:
        return draw.normal(1) * x.sum(-1) * self.dim**-0.5

    def covariance(self, x: np.ndarray, z: np.ndarray) -> np.ndarray:
        """The mean product of values at two vectors; it also says what the values' variance is, which must be 1."""
        return x.sum(-1)[..., :, None] * z.sum(-1)[..., None, :] / self.dim
