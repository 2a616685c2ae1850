"""Linear functions whose weights lie around one of two opposite centres.

    y = w.x / sqrt(d + far^2)        w ~ N(far e_1, I) or N(-far e_1, I), each as likely

Shapes   x (n,P,d)   y (n,P)
Source   arXiv 2306.04891    Family  in context
Differs  values have variance 1
"""

from typing import Annotated

import numpy as np

from blockyard.core.draw import Draw
from blockyard.core.settings import NonNegative
from blockyard.family._base import Family, Posterior
from blockyard.predictor.bayes import of_features, of_mixture


class Centres(Family):
    variants = (dict(dim=4), dict(dim=2, far=1.0))

    def __init__(self, dim: int, *, far: Annotated[NonNegative, "how far the centres are from 0"] = 3.0) -> None:
        super().__init__(dim)
        self.far, self.size = far, (dim + far**2) ** -0.5

    def values(self, draw: Draw, x: np.ndarray) -> np.ndarray:
        weights = draw.normal(1, self.dim)
        weights[..., 0] += self.far * (2.0 * draw.below(2, 1) - 1)
        return (weights * x).sum(-1) * self.size

    def covariance(self, x: np.ndarray, z: np.ndarray) -> np.ndarray:
        first = x[..., :1] @ z[..., :1].swapaxes(-1, -2)
        return (x @ z.swapaxes(-1, -2) + self.far**2 * first) * self.size**2

    def posterior(self, x: np.ndarray, y: np.ndarray, queries: np.ndarray, noise: float) -> Posterior:
        centre = np.eye(self.dim)[0] * self.far * self.size
        found = [of_features(x, y, queries, noise, self.size, sign * centre) for sign in (1, -1)]
        return of_mixture([0.5, 0.5], found)
