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
from blockyard.task._base import Examples, Task, at_least
from blockyard.task._strings import drawn, solved


class Sort(Task):
    grows = ("count",)
    variants = ({}, dict(count=4, letters=3, offset=0))
    first = "6a90198c2233"

    def __init__(
        self, *, count: Annotated[Count, "letters of the longest string"] = 12,
        letters: Annotated[Count, "different letters: with few of them most answers repeat"] = 32,
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
    """The letters that count, the smallest first."""
    counts = np.arange(text.shape[1]) < size
    return np.sort(np.where(counts, text, text.max(initial=0)), 1)
