"""Copying: letters, a mark, and the same letters again.

    . . c a f b > c a f b . .         asked from the mark on, at every place: the next letter

A string has 1 to `count` letters and stands behind 0 to `offset` blanks, so that no place means the same in all rows.

Shapes   ids: 0..letters-1 the letters, then blank, mark    T = 2 count + offset    chance 1/letters
Source   arXiv 1807.03819    Family  copying
Differs  one row to be continued (paper: two rows); longer strings stand behind fewer blanks
"""

from typing import Annotated

import numpy as np

from blockyard.core.settings import Count, Natural
from blockyard.task._base import Examples, Task, at_least
from blockyard.task._strings import drawn, solved


class Copy(Task):
    grows = ("count",)
    variants = ({}, dict(count=4, letters=3, offset=0))
    first = "f3433d36ebee"

    def __init__(
        self, *, count: Annotated[Count, "letters of the longest string"] = 12,
        letters: Annotated[Count, "different letters"] = 8,
        offset: Annotated[Natural, "blanks before it at most"] = 32,
    ) -> None:  # fmt: skip
        at_least(2, letters=letters)
        self.count, self.letters, self.offset = count, letters, offset
        self.length, self.vocab, self.answers = 2 * count + offset, letters + 2, range(letters)

    def sample(self, seed: int, n: int) -> Examples:
        return drawn(seed, n, self.count, self.letters, self.offset, _spelt)

    def solve(self, tokens: np.ndarray) -> np.ndarray:
        return solved(tokens, self.letters, _spelt)

    def stretched(self, factor: float) -> Task:
        """Longer strings, behind so much fewer blanks."""
        longer = super().stretched(factor)
        return longer.but(offset=int(self.offset / max(1, factor)))


def _spelt(text: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The letters as they are."""
    return text
