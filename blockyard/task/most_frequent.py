"""The letter that has stood most often so far; of several the first in the alphabet.

    b a c b a                         asked at every place: b a a b a

Shapes   ids: 0..letters-1    T = length    chance 1/letters
Source   arXiv 2106.06981, 2306.01128    Slug  transformer-programs    Family  programs
Differs  of the tokens up to each place, one letter (paper: letters in the order of how frequent they are)
"""

from typing import Annotated

import numpy as np

from blockyard.core.settings import Count
from blockyard.task._base import Draw, Examples, Predictor, Task, at_least


class MostFrequent(Task):
    variants = ({}, dict(letters=8, length=40))
    first = "33d1e5db2896"

    def __init__(
        self, *, letters: Annotated[Count, "different letters"] = 6, length: Annotated[Count, "tokens of a row"] = 16,
    ) -> None:  # fmt: skip
        at_least(2, letters=letters, length=length)
        self.letters, self.length = letters, length
        self.vocab, self.answers = letters, range(letters)

    def sample(self, seed: int, n: int) -> Examples:
        draw = Draw(seed, n)
        tokens, favoured = draw.below(self.letters, self.length), draw.below(self.letters, 1)
        tokens = np.where(draw.uniform(self.length) < 0.2, favoured, tokens)  # so that one is ahead of the others
        return Examples(tokens, self.solve(tokens))

    def solve(self, tokens: np.ndarray) -> np.ndarray:
        return (tokens[..., None] == np.arange(self.letters)).cumsum(1).argmax(-1)

    def baselines(self) -> dict[str, Predictor]:
        return {"last": lambda tokens: tokens}
