"""The length of the longest rising subsequence of some numbers, at once or behind the table of it.

    3 1 4 1 5 = 3                                  asked from = on: the longest of x_i < x_j < ..., i < j < ...
    3 1 4 1 5 = 1 1 2 1 3 = 3                      with `trace`: the longest that ends at each number
    f_i = 1 + max f_j over j < i with x_j < x_i

There are `least` to `count` numbers, the error is told by how many.

Shapes   ids: 0..numbers the numbers, then = and pad    Q = count    R = 1, or count + 2
         chance 1/(numbers + 1) where nothing is written out
Source   arXiv 2305.15408    Slug  cot-theory    Family  derivations
Differs  shorter (paper: up to 80)
"""

from typing import Annotated

import numpy as np

from blockyard.core.settings import Count
from blockyard.task._base import Draw, Predictor, at_least, fits
from blockyard.task._slices import Slicing, bands
from blockyard.task._traced import Traced


class CotLis(Traced):
    grows = ("count",)
    first = "fb9a8fc3bc85"
    variants = ({}, dict(trace=True), dict(trace=True, count=12, least=2, numbers=9))

    def __init__(
        self, *, count: Annotated[Count, "numbers of the longest row"] = 10,
        least: Annotated[Count, "numbers of the shortest"] = 4,
        numbers: Annotated[Count, "the largest number"] = 20,
        trace: Annotated[bool, "whether the table is written"] = False,
    ) -> None:  # fmt: skip
        at_least(1, count=count, numbers=numbers)
        fits(least <= count, f"cot_lis: need least <= count, not {least} <= {count}")
        self.count, self.least, self.numbers, self.trace = count, least, numbers, trace
        kinds = range(numbers + 2 if trace else numbers + 1)
        super().__init__(numbers + 3, kinds, numbers + 1, count, count + 2 if trace else 1)

    def asks(self, seed: int, n: int) -> np.ndarray:
        draw = Draw(seed, n)
        many = self.least + draw.below(self.count - self.least + 1, 1)
        return np.where(np.arange(self.count) < many, draw.below(self.numbers + 1, self.count), -1)

    def replies(self, questions: np.ndarray) -> np.ndarray:
        table = np.where(questions >= 0, 1, -1)
        for i in range(1, self.count):
            behind = np.where(questions[:, :i] < questions[:, i : i + 1], table[:, :i], 0).max(1)
            table[:, i] = np.where(questions[:, i] >= 0, 1 + behind, -1)
        answer = table.max(1, keepdims=True)
        return np.concatenate([table, np.full_like(answer, self.mark), answer], 1) if self.trace else answer

    @property
    def slicings(self) -> tuple[Slicing, ...]:
        pieces, index = bands(self.least, self.count)
        return (Slicing("numbers up to", pieces, lambda asked: index(self._many(asked.tokens))),)

    def baselines(self) -> dict[str, Predictor]:
        return {"root": lambda tokens: np.sqrt(self._many(tokens))[:, None].astype(np.int64) + 0 * tokens}

    def _many(self, tokens: np.ndarray) -> np.ndarray:
        return (self.questions_of(tokens) >= 0).sum(1)
