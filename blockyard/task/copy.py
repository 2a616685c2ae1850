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
from blockyard.task._strings import Strings


class Copy(Strings):
    first = "f3433d36ebee"

    def __init__(
        self, *, count: Annotated[Count, "letters of the longest string"] = 12,
        letters: Annotated[Count, "different letters"] = 8,
        offset: Annotated[Natural, "blanks before it at most"] = 32,
    ) -> None:  # fmt: skip
        super().__init__(count, letters, offset)

    def spelt(self, text: np.ndarray, size: np.ndarray) -> np.ndarray:
        """The letters as they are."""
        return text
