"""The value of an expression modulo a prime, with brackets, at once or line by line.

    2 * ( 3 + 6 ) - 5 = 6                                       asked from = on
    2 * ( 3 + 6 ) - 5 = 2 * 2 - 5 = 4 - 5 = 6                   with `trace`: each line has one operation less

Any value is written as an operation, and so on down. A line does the leftmost operation of two numbers. Expressions
have `least` to `operators` operations, and the longer they are the more of them there are. A number is one token. The
error is told by how many operations there are.

Shapes   ids: 0..p-1, then + - * / ( ) = and pad    Q = 4 operators - 1    R = 1 or 2 operators (operators - 1) + 1
         chance 1/p where nothing is written out
Source   arXiv 2305.15408    Slug  cot-theory    Family  derivations
Differs  lines work from the left (paper: backwards in the order in which the expression was made, which none can see)
"""

from typing import Annotated

import numpy as np

from blockyard.core.settings import Count
from blockyard.task._base import Draw, Predictor, at_least, fits
from blockyard.task._expressions import OPENS, drawn, is_prime, read, reduced, written
from blockyard.task._slices import Slicing
from blockyard.task._traced import Traced


class CotArithmetic(Traced):
    grows = ("operators",)
    first = "3049b9827cfb"
    variants = ({}, dict(trace=True), dict(trace=True, operators=5, least=1, modulus=11))

    def __init__(
        self, *, operators: Annotated[Count, "operations of the longest expression"] = 3,
        least: Annotated[Count, "operations of the shortest; none: as many as of the longest"] | None = None,
        modulus: Annotated[Count, "the prime that numbers are counted up to"] = 7,
        trace: Annotated[bool, "whether every line is written"] = False,
    ) -> None:  # fmt: skip
        at_least(1, operators=operators)
        fits(is_prime(modulus), f"cot_arithmetic: modulus={modulus} must be a prime of at most 1000, to divide by")
        fits((least or 1) <= operators, f"cot_arithmetic: need least <= operators, not {least} <= {operators}")
        self.operators, self.least, self.modulus, self.trace = operators, least, modulus, trace
        asking = 4 * operators - 1
        replying = 1 + (2 * operators * (operators - 1) if trace else 0)
        super().__init__(modulus + 8, range(modulus + 7 if trace else modulus), modulus + 6, asking, replying)

    def asks(self, seed: int, n: int) -> np.ndarray:
        many = self._many(seed, n)
        found = np.full((n, self.asking), -1)
        for m in range(self.least or self.operators, self.operators + 1):
            lines = written(drawn(Draw(seed, n, stream=2 + m), m, self.modulus).rows(many == m), self.modulus)
            found[many == m, : lines.shape[1]] = lines
        return found

    def _many(self, seed: int, n: int) -> np.ndarray:
        """(n,) how many operations each expression has: as m out of the sum of all m."""
        sizes = np.arange(self.least or self.operators, self.operators + 1)
        return sizes[np.searchsorted(sizes.cumsum() / sizes.sum(), Draw(seed, n).uniform(1)[:, 0])]

    def replies(self, questions: np.ndarray) -> np.ndarray:
        found, many = np.full((len(questions), self.replying), -1), self._operations(questions)
        for m in range(1, self.operators + 1):
            if (here := many == m).any():
                found[here] = self._lines(questions[here], m)
        return found

    def _lines(self, questions: np.ndarray, operators: int) -> np.ndarray:
        """(n,R) what is said to expressions of so many operations."""
        now, lines = read(questions, operators, self.modulus), []
        for _ in range(operators):
            now = reduced(now, self.modulus)
            if self.trace:
                lines += [written(now, self.modulus), np.full((len(questions), 1), self.mark)]
        lines = lines[:-1] if self.trace else [now.numbers]
        lines = np.concatenate(lines, 1)
        return np.pad(lines, ((0, 0), (0, self.replying - lines.shape[1])), constant_values=-1)

    def _operations(self, questions: np.ndarray) -> np.ndarray:
        return ((questions >= self.modulus) & (questions < self.modulus + OPENS)).sum(1)

    @property
    def slicings(self) -> tuple[Slicing, ...]:
        low = self.least or self.operators
        pieces = tuple(str(m) for m in range(low, self.operators + 1))
        return (Slicing("operations", pieces, lambda asked: self._operations(self.questions_of(asked.tokens)) - low),)

    def baselines(self) -> dict[str, Predictor]:
        return {"zero": np.zeros_like}
