"""Adding up: letters as numbers, a mark, and the sums of the first, the first two, and so on.

    . . 3 1 7 5 > 3 4 3 0 . .         asked from the mark on, at every place: the next sum, mod `letters`

A string has 1 to `count` letters and stands behind 0 to `offset` blanks, so that no place means the same in all rows.

Shapes   ids: 0..letters-1 the letters, then blank, mark    T = 2 count + offset    chance 1/letters
Source   arXiv 2305.19466    Slug  pe-length-generalization    Family  state tracking
Differs  every sum so far is spelt out (paper: the whole sum alone, or other scratchpads), mod 8 by default
"""

from typing import Annotated

import numpy as np

from blockyard.core.settings import Count, Natural
from blockyard.task._base import Examples, Task, at_least
from blockyard.task._strings import drawn, solved


class ModularSum(Task):
    grows = ("count",)
    variants = ({}, dict(count=4, letters=3, offset=0))
    first = "194942f3ff4c"

    def __init__(
        self, *, count: Annotated[Count, "letters of the longest string"] = 12,
        letters: Annotated[Count, "different letters: numbers are counted up to this"] = 8,
        offset: Annotated[Natural, "blanks before it at most"] = 32,
    ) -> None:  # fmt: skip
        at_least(2, letters=letters)
        self.count, self.letters, self.offset = count, letters, offset
        self.length, self.vocab, self.answers = 2 * count + offset, letters + 2, range(letters)

    def sample(self, seed: int, n: int) -> Examples:
        return drawn(seed, n, self.count, self.letters, self.offset, self._sums)

    def solve(self, tokens: np.ndarray) -> np.ndarray:
        return solved(tokens, self.letters, self._sums)

    def stretched(self, factor: float) -> Task:
        """Longer strings, behind so much fewer blanks."""
        longer = super().stretched(factor)
        return longer.but(offset=int(self.offset / max(1, factor)))

    def _sums(self, text: np.ndarray, size: np.ndarray) -> np.ndarray:
        return np.cumsum(text, 1) % self.letters
