"""Networks of one hidden layer with new weights each.

    y = sqrt(2 / (width d)) sum_j a_j max(0, u_j.x)        a, u ~ N(0, I)

Its covariance is that of a network of any width: with angle t between x and z,
K(x, z) = |x| |z| (sin t + (pi - t) cos t) / (pi d). The posterior of a Gaussian process with that kernel is the best
that is linear in y.

Shapes   x (n,P,d)   y (n,P)
Source   arXiv 2208.01066    Family  in context
Differs  values have variance 1; no exact posterior is known
"""

from typing import Annotated

import numpy as np

from blockyard.core.draw import Draw
from blockyard.core.settings import Count
from blockyard.family._base import Family


class ReluNet(Family):
    variants = (dict(dim=4), dict(dim=2, width=5))
    known = False

    def __init__(self, dim: int, *, width: Annotated[Count, "hidden channels"] = 20) -> None:
        super().__init__(dim)
        self.width = width

    def values(self, draw: Draw, x: np.ndarray) -> np.ndarray:
        into, out = draw.normal(self.dim, self.width), draw.normal(1, self.width)
        return (np.maximum(x @ into, 0) * out).sum(-1) * (2 / (self.width * self.dim)) ** 0.5

    def covariance(self, x: np.ndarray, z: np.ndarray) -> np.ndarray:
        products = x @ z.swapaxes(-1, -2)
        sizes = np.linalg.norm(x, axis=-1)[..., :, None] * np.linalg.norm(z, axis=-1)[..., None, :]
        cosine = np.clip(products / np.maximum(sizes, np.finfo(np.float64).tiny), -1, 1)
        angle = np.arccos(cosine)
        return sizes * (np.sin(angle) + (np.pi - angle) * cosine) / (np.pi * self.dim)
