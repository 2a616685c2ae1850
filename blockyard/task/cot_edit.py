"""The edit distance of two strings, at once or behind the table of it.

    a b b , b a b = 2                              asked from = on: how many letters to change, leave out or put in
    a b b , b a b = 1 1 2 , 1 2 1 , ... = 2        with `trace`: D_ij row by row, from D_i0 = i and D_0j = j on
    D_ij = min(D_i-1,j + 1, D_i,j-1 + 1, D_i-1,j-1 + [x_i != y_j])

Each string has `least` to `count` letters. The error is told by the distance.

Shapes   ids: 0..most the numbers, then the letters, the comma, = and pad
         Q = 2 count + 1    R = 1, or count (count + 1) + 1    chance 1/(most + 1) where nothing is written out
Source   arXiv 2305.15408    Slug  cot-theory    Family  derivations
Differs  every edit costs one (paper: one that replaces costs more); strings of one length or nearly are not preferred
"""

from typing import Annotated

import numpy as np

from blockyard.core.settings import Count
from blockyard.task._base import Draw, Predictor, Task, at_least, fits
from blockyard.task._slices import Slicing
from blockyard.task._traced import Traced, packed


class CotEdit(Traced):
    grows = ("count",)
    first = "7c4c8b4f983a"
    variants = ({}, dict(trace=True), dict(trace=True, count=4, least=4, letters=3, most=4))

    def __init__(
        self, *, count: Annotated[Count, "letters of the longest string"] = 5,
        least: Annotated[Count, "letters of the shortest"] = 2, letters: Annotated[Count, "different letters"] = 4,
        most: Annotated[Count, "the largest distance that there is a number for"] = 32,
        trace: Annotated[bool, "whether the table is written"] = False,
    ) -> None:  # fmt: skip
        at_least(2, letters=letters)
        fits(least <= count <= most, f"cot_edit: need least <= count <= most, not {least} <= {count} <= {most}")
        self.count, self.least, self.letters, self.most, self.trace = count, least, letters, most, trace
        self.first_letter, self.comma = most + 1, most + 1 + letters
        answers = range(self.comma + 2 if trace else most + 1)
        replying = 1 + (count * (count + 1) if trace else 0)
        super().__init__(self.comma + 3, answers, self.comma + 1, 2 * count + 1, replying)

    def asks(self, seed: int, n: int) -> np.ndarray:
        draw, place = Draw(seed, n), np.arange(self.count)
        one, other = (
            np.where(place < self.least + draw.below(self.count - self.least + 1, 1),
                     self.first_letter + draw.below(self.letters, self.count), -1)
            for _ in range(2)
        )  # fmt: skip
        return packed(np.concatenate([one, np.full((n, 1), self.comma), other], 1), self.asking)

    def replies(self, questions: np.ndarray) -> np.ndarray:
        table, many = self.table(questions)
        answer = table[np.arange(len(table)), many[:, 0], many[:, 1]][:, None]
        if not self.trace:
            return answer
        inner, place = table[:, 1:, 1:], np.arange(self.count)
        down = place[:, None] < many[:, :1, None]
        cells = np.where(down & (place < many[:, 1:, None]), inner, -1)
        last = place[:, None] + 1 == many[:, :1, None]
        ends = np.where(last, self.mark, np.where(down, self.comma, -1))
        return np.concatenate([np.concatenate([cells, ends], 2).reshape(len(table), -1), answer], 1)

    def table(self, questions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n,L+1,L+1) the distances of all beginnings of two strings, and (n,2) how long both are."""
        is_letter = (questions >= self.first_letter) & (questions < self.comma)
        behind = (questions == self.comma).cumsum(1) > 0
        one, other = (packed(np.where(is_letter & side, questions, -1), self.count) for side in (~behind, behind))
        found = np.zeros((len(questions), self.count + 1, self.count + 1), np.int64)
        found[:, :, 0] = found[:, 0] = np.arange(self.count + 1)
        for i in range(self.count):
            for j in range(self.count):
                change = found[:, i, j] + (one[:, i] != other[:, j])
                found[:, i + 1, j + 1] = np.minimum(change, 1 + np.minimum(found[:, i, j + 1], found[:, i + 1, j]))
        return found, np.stack([(one >= 0).sum(1), (other >= 0).sum(1)], 1)

    def stretched(self, factor: float) -> Task:
        """Strings so long that the table is so many times as large."""
        return super().stretched(factor**0.5 if factor > 0 else factor)

    @property
    def slicings(self) -> tuple[Slicing, ...]:
        pieces = tuple(str(d) for d in range(self.count + 1))
        return (Slicing("distance", pieces, lambda asked: self._distance(asked.tokens)),)

    def baselines(self) -> dict[str, Predictor]:
        return {"longer": lambda tokens: self.table(self.questions_of(tokens))[1].max(1)[:, None] - 1 + 0 * tokens}

    def _distance(self, tokens: np.ndarray) -> np.ndarray:
        table, many = self.table(self.questions_of(tokens))
        return table[np.arange(len(table)), many[:, 0], many[:, 1]]
