"""Sorting: letters, a mark, and the letters in their order.

    . . c a f b > a b c f . .         asked from the mark on, at every place: the next letter

A string has 1 to `count` letters and stands behind 0 to `offset` blanks, so that no place means the same in all rows.

Shapes   ids: 0..letters-1 the letters, then blank, mark    T = 2 count + offset    chance 1/letters
Source   arXiv 2305.19466    Slug  pe-length-generalization    Family  copying
Differs  letters that may repeat, a random start in the row; the answer is asked letter by letter
"""

from typing import Annotated

import numpy as np

from blockyard.core.settings import Count, Natural
from blockyard.task._strings import Strings


class Sort(Strings):
    first = "6a90198c2233"

    def __init__(
        self, *, count: Annotated[Count, "letters of the longest string"] = 12,
        letters: Annotated[Count, "different letters: with few of them most answers repeat"] = 32,
        offset: Annotated[Natural, "blanks before it at most"] = 32,
    ) -> None:  # fmt: skip
        super().__init__(count, letters, offset)

    def spelt(self, text: np.ndarray, size: np.ndarray) -> np.ndarray:
        """The letters that count, the smallest first."""
        counts = np.arange(text.shape[1]) < size
        return np.sort(np.where(counts, text, text.max(initial=0)), 1)
