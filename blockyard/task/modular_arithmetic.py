"""Modular arithmetic without brackets: the value of a sum of products, so far.

    3 * 4 - 1 + 2                     asked at every number: the value of the expression that ends there, mod `modulus`

Multiplication binds closer than addition and subtraction. Numbers stand at even places, operators at odd ones. Asked
at every number, not at the end alone: an example holds every shorter one.

Shapes   ids: 0..modulus-1, then + - *    T = length, the last place an operator where it is even    chance 1/modulus
Source   arXiv 2411.12537    Family  state tracking
Differs  a running answer (paper: one, behind =); modulus 3 by default (paper: 5)
"""

from typing import Annotated

import numpy as np

from blockyard.core.settings import Count, Word
from blockyard.task._base import Draw, Examples, Predictor, Task, at_least, fits, latest

SIGNS = "+-*"


class ModularArithmetic(Task):
    variants = ({}, dict(operators="+-", modulus=7, length=40), dict(modulus=5, length=31))
    first = "c3116cf69203"

    def __init__(
        self, *, modulus: Annotated[Count, "numbers are counted up to this"] = 3,
        length: Annotated[Count, "tokens of an expression"] = 15, operators: Annotated[Word, "some of +-*"] = "+-*",
    ) -> None:  # fmt: skip
        at_least(2, modulus=modulus)
        known = bool(operators) and set(operators) <= set(SIGNS)
        fits(known, f"modular_arithmetic: operators={operators} must be some of {SIGNS}")
        self.modulus, self.length, self.operators = modulus, length, operators
        self.vocab, self.answers = modulus + 3, range(modulus)

    def sample(self, seed: int, n: int) -> Examples:
        draw = Draw(seed, n)
        tokens = draw.below(self.modulus, self.length)
        signs = self.modulus + np.array([SIGNS.index(sign) for sign in self.operators])
        tokens[:, 1::2] = signs[draw.below(len(signs), self.length // 2)]
        targets = self.solve(tokens)
        targets[:, 1::2] = -1
        return Examples(tokens, targets)

    def solve(self, tokens: np.ndarray) -> np.ndarray:
        found, done = np.zeros_like(tokens), np.zeros(len(tokens), np.int64)
        factor = term = np.ones_like(done)  # what the next number is multiplied by: the product so far, or a sign
        for t in range(0, self.length, 2):
            if t:
                sign = tokens[:, t - 1] - self.modulus
                done = np.where(sign == 2, done, found[:, t - 2])
                factor = np.where(sign == 2, term, np.where(sign == 1, -1, 1))
            term = factor * tokens[:, t] % self.modulus
            found[:, t] = (done + term) % self.modulus
        return found

    def baselines(self) -> dict[str, Predictor]:
        return {"last": lambda tokens: latest(tokens, tokens < self.modulus)}
