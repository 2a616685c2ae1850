"""One wave of any height and phase, at one of some frequencies.

    y = a sin(f x) + b cos(f x)        a, b ~ N(0, 1); f of FREQUENCIES values, even from `low` to `high`

Every frequency is tried: the posterior is a mixture over them.

Shapes   x (n,P,1)   y (n,P)
Source   arXiv 2311.00871    Family  in context
Differs  frequencies on a grid, so that the posterior is exact; the height is that of a normal pair
"""

from typing import Annotated

import numpy as np

from blockyard.core.draw import Draw
from blockyard.core.errors import UsageError
from blockyard.core.settings import Positive
from blockyard.family._base import Family, Posterior
from blockyard.predictor.bayes import of_features, of_mixture

FREQUENCIES = 32


class Sinusoid(Family):
    variants = (dict(dim=1), dict(dim=1, low=4.0, high=8.0))

    def __init__(
        self, dim: int, *, low: Annotated[Positive, "the lowest frequency, in radians a unit"] = 1.0,
        high: Annotated[Positive, "the highest"] = 5.0,
    ) -> None:  # fmt: skip
        super().__init__(dim)
        self.low, self.high = low, high
        if dim != 1 or high < low:
            raise UsageError(f"sinusoid: a wave of one number (dim=1), of frequencies from low to high; got {self!r}")
        self.frequencies = np.linspace(low, high, FREQUENCIES)

    def values(self, draw: Draw, x: np.ndarray) -> np.ndarray:
        weights, frequency = draw.normal(1, 2), self.frequencies[draw.below(FREQUENCIES, 1)]
        return (weights * _wave(x, frequency[..., None])).sum(-1)

    def covariance(self, x: np.ndarray, z: np.ndarray) -> np.ndarray:
        return np.mean([_wave(x, f) @ _wave(z, f).swapaxes(-1, -2) for f in self.frequencies], 0)

    def posterior(self, x: np.ndarray, y: np.ndarray, queries: np.ndarray, noise: float) -> Posterior:
        found = [of_features(_wave(x, f), y, _wave(queries, f), noise) for f in self.frequencies]
        return of_mixture([1 / FREQUENCIES] * FREQUENCIES, found)


def _wave(x: np.ndarray, frequency: np.ndarray) -> np.ndarray:
    """(...,2) the sine and the cosine."""
    return np.concatenate([np.sin(frequency * x), np.cos(frequency * x)], -1)
