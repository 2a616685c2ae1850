"""Parity: whether the number of ones so far is odd.

    0 1 1 0 1                         asked at every place: the sum of the bits up to there, modulo 2

Asked at every token, not at the end alone: an example of length T holds every shorter one.

Shapes   ids: the two bits    T = length    chance 1/2
Source   arXiv 2411.12537    Family  state tracking
Differs  one length (paper: 3 to 40 in training); what is longer comes from `stretched`
"""

from typing import Annotated

import numpy as np

from blockyard.core.settings import Count
from blockyard.task._base import Draw, Examples, Predictor, Task


class Parity(Task):
    first = "f13b85de8b74"

    def __init__(
        self, *, length: Annotated[Count, "bits of a row"] = 40,
    ) -> None:  # fmt: skip
        self.length, self.vocab, self.answers = length, 2, range(2)

    def sample(self, seed: int, n: int) -> Examples:
        tokens = Draw(seed, n).below(2, self.length)
        return Examples(tokens, self.solve(tokens))

    def solve(self, tokens: np.ndarray) -> np.ndarray:
        return tokens.cumsum(1) % 2

    def baselines(self) -> dict[str, Predictor]:
        return {"last": lambda tokens: tokens}
