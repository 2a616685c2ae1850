"""Multiplication of whole numbers, digit by digit: two numbers, then all digits of their product.

    3 7 x 4 2 = 1 5 5 4               asked from = on: the next digit; with `answer=reversed` 4 5 5 1

All numbers have a fixed width, with zeros in front. A row is right if every digit is. Of a share of the training rows
b has one digit that is not 0 (`easy`), and of a share of the digits of a 0 is made (`zeros`); exams ask about plain
numbers. The error is told by the place of a digit, by how a carry comes to it, and by how many carries are chained.

Shapes   ids: 0..9, then x =    T = 2 digits + 2 times + 1, as long a b or `times` digits of it    chance 1/10 a digit
Source   arXiv 2407.15360    Slug  multiplication    Family  arithmetic
Differs  zeros in front of the product are asked for, too; carries of the columns, not of the rows, slice the error
"""

from typing import Annotated

import numpy as np

from blockyard.core.settings import Count, Fraction, Word
from blockyard.task._base import Draw, Examples, Predictor, Task, at_least, fits
from blockyard.task._carries import CHAINED, CLASSES, Work, worked
from blockyard.task._slices import Slicing
from blockyard.task._traced import Traced

TIMES, MARK = 10, 11
ORDERS = ("ordinary", "reversed")
MOST = 3  # chained carries that are told apart


class Multiplication(Traced):
    grows = ("digits",)
    first = "fc72344e42e4"
    variants = ({}, dict(digits=3, times=1, zeros=0.1), dict(digits=4, answer="reversed", easy=0.45))

    def __init__(
        self, *, digits: Annotated[Count, "digits of the first number"] = 3,
        times: Annotated[Count, "digits of the second; none: as many"] | None = None,
        answer: Annotated[Word, "ordinary: the largest digit first; reversed: the smallest"] = "ordinary",
        easy: Annotated[Fraction, "the share of training rows whose second number has one digit that is not 0"] = 0.0,
        zeros: Annotated[Fraction, "the share of the first number's digits that are made 0 in training"] = 0.0,
    ) -> None:  # fmt: skip
        fits(answer in ORDERS, f"multiplication: answer={answer} must be one of {', '.join(ORDERS)}")
        self.digits, self.times, self.answer, self.easy, self.zeros = digits, times, answer, easy, zeros
        self._second = times or digits
        at_least(1, digits=digits, times=self._second)
        super().__init__(12, range(10), MARK, digits + 1 + self._second, digits + self._second)

    @property
    def scored_on(self) -> Task:
        return self.but(easy=0.0, zeros=0.0)

    def asks(self, seed: int, n: int) -> np.ndarray:
        draw = Draw(seed, n)
        a, b = draw.below(10, self.digits), draw.below(10, self._second)
        a = np.where(draw.uniform(self.digits) < self.zeros, 0, a)
        only, digit = draw.below(self._second, 1), 1 + draw.below(9, 1)
        easy = draw.uniform(1) < self.easy
        b = np.where(easy, (np.arange(self._second) == only) * digit, b)
        return np.concatenate([a, np.full((n, 1), TIMES), b], 1)

    def replies(self, questions: np.ndarray) -> np.ndarray:
        digits = self.work(questions).digits
        return digits if self.answer == "reversed" else digits[:, ::-1]

    def work(self, questions: np.ndarray) -> Work:
        """All labels of these questions."""
        return worked(questions[:, : self.digits][:, ::-1], questions[:, self.digits + 1 :][:, ::-1])

    @property
    def slicings(self) -> tuple[Slicing, ...]:
        places = tuple(str(k) for k in range(self.replying))
        chains = (*(str(k) for k in range(MOST)), f"{MOST} or more")
        return (
            Slicing("place", places, lambda asked: self._along(np.arange(self.replying)[None], asked)),
            Slicing("carry", CLASSES, lambda asked: self._along(self._kinds(asked), asked)),
            Slicing("chained carries", chains, lambda asked: (self._kinds(asked) == CHAINED).sum(1).clip(0, MOST)),
        )

    def baselines(self) -> dict[str, Predictor]:
        return {"zeros": np.zeros_like}

    def _kinds(self, examples: Examples) -> np.ndarray:
        return self.work(self.questions_of(examples.tokens)).kind

    def _along(self, columns: np.ndarray, examples: Examples) -> np.ndarray:
        """(n,T) what columns (n or 1,K), the smallest first, say of the places where they are asked; elsewhere -1."""
        found = np.full(examples.tokens.shape, -1)
        found[:, self.asking :] = columns if self.answer == "reversed" else columns[:, ::-1]
        return found
