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
from blockyard.task._strings import Strings


class ModularSum(Strings):
    first = "194942f3ff4c"

    def __init__(
        self, *, count: Annotated[Count, "letters of the longest string"] = 12,
        letters: Annotated[Count, "different letters: numbers are counted up to this"] = 8,
        offset: Annotated[Natural, "blanks before it at most"] = 32,
    ) -> None:  # fmt: skip
        super().__init__(count, letters, offset)

    def spelt(self, text: np.ndarray, size: np.ndarray) -> np.ndarray:
        """The sums so far."""
        return np.cumsum(text, 1) % self.letters
