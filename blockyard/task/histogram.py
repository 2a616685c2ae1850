"""A count of each letter: how often it has stood so far.

    a b a a c b                       asked at every place: 1 1 2 3 1 2

What stood `most` times or more is said to have stood `most` times.

Shapes   ids: 0..letters-1 the letters, then the counts from 1 on    T = length    chance 1/most
Source   arXiv 2106.06981, 2306.01128    Slug  transformer-programs    Family  programs
Differs  of the tokens up to each place (paper: of the whole row)
"""

from typing import Annotated

import numpy as np

from blockyard.core.settings import Count
from blockyard.task._base import Draw, Examples, Predictor, Task, at_least


class Histogram(Task):
    variants = ({}, dict(letters=3, most=3, length=8))
    first = "7f788bb4ce9c"

    def __init__(
        self, *, letters: Annotated[Count, "different letters"] = 6,
        most: Annotated[Count, "the largest count that is said"] = 6, length: Annotated[Count, "tokens of a row"] = 12,
    ) -> None:  # fmt: skip
        at_least(2, letters=letters, most=most, length=length)
        self.letters, self.most, self.length = letters, most, length
        self.vocab, self.answers = letters + most, range(letters, letters + most)

    def sample(self, seed: int, n: int) -> Examples:
        tokens = Draw(seed, n).below(self.letters, self.length)
        return Examples(tokens, self.solve(tokens))

    def solve(self, tokens: np.ndarray) -> np.ndarray:
        counts = (tokens[..., None] == np.arange(self.letters)).cumsum(1)
        own = np.take_along_axis(counts, np.maximum(tokens, 0)[..., None], 2)[..., 0]
        return self.letters - 1 + np.clip(own, 1, self.most)

    def baselines(self) -> dict[str, Predictor]:
        return {"place": lambda tokens: np.broadcast_to(self._expected(tokens.shape[1]), tokens.shape)}

    def _expected(self, width: int) -> np.ndarray:
        """(T,) the count that is likely at each place, whatever stands there."""
        return self.letters - 1 + np.clip(1 + np.arange(width) // self.letters, 1, self.most)
