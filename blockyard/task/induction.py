"""Induction: a random row of tokens, over and over, and what followed each token the last time.

    h c a f  h c a f  h c             asked from the second round on, at every place: the next token

The tokens of a round are different. Its length is drawn for each example between half of `period` and `period`, so
that copying from a fixed distance does not solve it.

Shapes   ids: 0..alphabet-1    T = length > period, period <= alphabet    chance 1/alphabet
Source   arXiv 2209.11895    Family  recall
Differs  the period varies and no token repeats inside a round, so that every answer is certain
"""

import math
from typing import Annotated

import numpy as np

from blockyard.core.settings import Count
from blockyard.task._base import Draw, Examples, Task, at_least, fits


class Induction(Task):
    variants = ({}, dict(period=2, length=3, alphabet=2), dict(period=16, length=64, alphabet=64))
    first = "2d14435187cf"

    def __init__(
        self, *, period: Annotated[Count, "tokens until the row repeats"] = 8,
        length: Annotated[Count, "tokens of a row"] = 32, alphabet: Annotated[Count, "different tokens"] = 32,
    ) -> None:  # fmt: skip
        at_least(2, period=period)
        fits(period <= alphabet, f"induction: period={period} needs alphabet {period} or more, not {alphabet}")
        fits(length > period, f"induction: period={period} needs length {period + 1} or more, not {length}")
        self.period, self.length, self.alphabet = period, length, alphabet
        self.vocab, self.answers = alphabet, range(alphabet)

    def sample(self, seed: int, n: int) -> Examples:
        draw = Draw(seed, n)
        low = (self.period + 1) // 2
        period = low + draw.below(self.period - low + 1, 1)
        row = draw.distinct(self.period, self.alphabet)
        place = np.arange(self.length + 1)
        tokens = np.take_along_axis(row, place % period, 1)
        return Examples(tokens[:, :-1], np.where(place[:-1] >= period, tokens[:, 1:], -1))

    def solve(self, tokens: np.ndarray) -> np.ndarray:
        found, follower = np.zeros_like(tokens), np.zeros((len(tokens), self.alphabet), np.int64)
        rows = np.arange(len(tokens))
        for t in range(self.length):
            found[:, t] = follower[rows, tokens[:, t]]
            if t:
                follower[rows, tokens[:, t - 1]] = tokens[:, t]
                found[:, t] = follower[rows, tokens[:, t]]
        return found

    def stretched(self, factor: float) -> "Task":
        """Longer rounds, as far as the alphabet allows, and then more of them."""
        period = min(math.ceil(self.period * max(1, factor)), self.alphabet)
        return super().stretched(factor).but(period=period)
