"""What families of waves share."""

import numpy as np

from blockyard.core.draw import Draw
from blockyard.core.errors import UsageError
from blockyard.family._base import Family


class Waves(Family):
    """Functions of one number between -1 and 1."""

    where = "even from -1 to 1"

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        if dim != 1:
            raise UsageError(f"{self.name}: waves are functions of one number, not of {dim}; set dim=1")

    def vectors(self, draw: Draw, points: int) -> np.ndarray:
        """(n,P,1) even numbers."""
        return 2 * draw.uniform(points, 1) - 1


def waves(x: np.ndarray, most: int) -> np.ndarray:
    """(...,1 + 2 most): 1, then sine and cosine of n pi x for n = 1 ... most, each of mean square 1/2."""
    angles = np.pi * x * np.arange(1, most + 1)
    pairs = np.stack([np.sin(angles), np.cos(angles)], -1)
    return np.concatenate([np.ones_like(x), pairs.reshape(*x.shape[:-1], 2 * most)], -1)
