"""Linear functions of a fixed network's answers: the network never changes, the weights are drawn.

    y = w.Phi(x) / sqrt(d)        w ~ N(0, I)        Phi = `depth` layers of leaky ReLU (0.01) of orthonormal matrices

Each layer's numbers are shifted and scaled to mean 0 and variance 1 over normal vectors. With depth 0 it is `dense`.

Shapes   x, Phi (n,P,d)   y (n,P)
Source   arXiv 2310.10616    Slug  icl-representations    Family  in context
Differs  numbers of variance 1 behind every layer; orthonormal matrices
"""

from typing import Annotated

import numpy as np

from blockyard.core.draw import Draw
from blockyard.core.settings import Natural
from blockyard.family._base import Family

LEAK = 0.01
SURVEY = 4096  # vectors by which means and deviations are found


class Composed(Family):
    variants = (dict(dim=4), dict(dim=3, depth=1, seed=7), dict(dim=2, depth=0))
    stream = "dense"

    def __init__(
        self, dim: int, *, depth: Annotated[Natural, "layers of the network"] = 2,
        seed: Annotated[Natural, "what the network is drawn from"] = 0,
    ) -> None:  # fmt: skip
        super().__init__(dim)
        self.depth, self.seed = depth, seed
        h, self.layers = Draw(seed, SURVEY, stream=2).normal(dim), []
        for matrix in Draw(seed, depth, stream=3).normal(dim, dim):
            turned = np.linalg.qr(matrix)[0]
            h = _leaky(h @ turned)
            self.layers.append((turned, h.mean(0), h.std(0)))
            h = (h - self.layers[-1][1]) / self.layers[-1][2]

    def features(self, x: np.ndarray) -> np.ndarray:
        """(...,d) what the network makes of x (...,d)."""
        for turned, mean, deviation in self.layers:
            x = (_leaky(x @ turned) - mean) / deviation
        return x

    def values(self, draw: Draw, x: np.ndarray) -> np.ndarray:
        return (draw.normal(1, self.dim) * self.features(x)).sum(-1) * self.dim**-0.5

    def covariance(self, x: np.ndarray, z: np.ndarray) -> np.ndarray:
        return self.features(x) @ self.features(z).swapaxes(-1, -2) / self.dim


def _leaky(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, LEAK * x)
