"""Modular arithmetic with brackets: the value of every bracket as it closes.

    ( ( 3 * 4 ) - ( 1 + 2 ) )         asked at every ): the value of what it closes, mod `modulus`

Every operation has its brackets. An expression of n numbers is split into two at random, evenly over where, and so on
down. With `every` off only the last bracket is asked for, which is the whole expression.

Shapes   ids: 0..modulus-1, then + - * ( )    T = 4 numbers - 3    chance 1/modulus
Source   arXiv 2411.12537    Family  state tracking
Differs  brackets inside are asked for too (paper: one answer, behind =)
"""

from typing import Annotated

import numpy as np

from blockyard.core.settings import Count
from blockyard.task._base import Draw, Examples, Predictor, Task, at_least, latest


class ModularBrackets(Task):
    grows = ("numbers",)
    variants = ({}, dict(every=False, numbers=16, modulus=3), dict(numbers=2))
    first = "db3a1cd16f91"

    def __init__(
        self, *, numbers: Annotated[Count, "numbers of an expression"] = 8,
        modulus: Annotated[Count, "numbers are counted up to this"] = 5,
        every: Annotated[bool, "whether every bracket is asked for, or the whole alone"] = True,
    ) -> None:  # fmt: skip
        at_least(2, numbers=numbers, modulus=modulus)
        self.numbers, self.modulus, self.every = numbers, modulus, every
        self.length = 4 * numbers - 3
        self.vocab, self.answers = modulus + 5, range(modulus)

    def sample(self, seed: int, n: int) -> Examples:
        tokens = self._expressions(Draw(seed, n))
        targets = np.where(tokens == self.modulus + 4, self.solve(tokens), -1)
        if not self.every:
            targets[:, :-1] = -1
        return Examples(tokens, targets)

    def _expressions(self, draw: Draw) -> np.ndarray:
        """Random trees, written from left to right; `owed` holds the numbers right of each open operator."""
        rows = np.arange(draw.rows)
        tokens = draw.below(self.modulus, self.length)
        signs, cut = self.modulus + draw.below(3, self.length), draw.uniform(self.length)
        owed, right = np.zeros((draw.rows, self.numbers + 1), np.int64), np.zeros((draw.rows, self.numbers + 1), bool)
        depth, size = np.zeros_like(rows), np.full_like(rows, self.numbers)  # size 0: a value has just ended
        for t in range(self.length):
            opens, ended = size > 1, size == 0
            closes = ended & right[rows, depth]
            signed = ended & ~closes
            tokens[opens, t], tokens[closes, t] = self.modulus + 3, self.modulus + 4
            tokens[signed, t] = signs[signed, t]
            left = 1 + (cut[:, t] * (size - 1)).astype(np.int64)
            depth = depth + opens
            owed[rows[opens], depth[opens]], right[rows[opens], depth[opens]] = (size - left)[opens], False
            right[rows[signed], depth[signed]] = True
            size = np.where(opens, left, np.where(signed, owed[rows, depth], 0))
            depth = depth - closes
        return tokens

    def solve(self, tokens: np.ndarray) -> np.ndarray:
        rows = np.arange(len(tokens))
        found, value, depth = np.zeros_like(tokens), np.zeros_like(rows), np.zeros_like(rows)
        left, sign = np.zeros((2, len(tokens), self.length + 1), np.int64)
        for t, token in enumerate(tokens.T):
            kind = token - self.modulus
            signed = (kind >= 0) & (kind < 3)
            left[rows[signed], depth[signed]], sign[rows[signed], depth[signed]] = value[signed], kind[signed]
            a, s = left[rows, depth], sign[rows, depth]
            joined = np.where(s == 0, a + value, np.where(s == 1, a - value, a * value)) % self.modulus
            value = np.where(kind == 4, joined, np.where(kind < 0, token, value))
            depth = depth + (kind == 3) - (kind == 4)
            found[:, t] = value
        return found

    def baselines(self) -> dict[str, Predictor]:
        return {"last": lambda tokens: latest(tokens, tokens < self.modulus)}
