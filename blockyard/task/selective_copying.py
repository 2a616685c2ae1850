"""Selective copying: letters among noise, then as many marks: the letters, in order, without the noise.

    . b . . a . c .  > > >            asked at the i-th mark: the i-th letter

The letters stand at random places, so that a fixed delay cannot find them.

Shapes   ids: 0..letters-1 the letters, then noise, mark    T = length >= 2 count, the last `count` are marks
         chance 1/letters
Source   arXiv 2312.00752    Family  copying
Differs  shorter (paper: 16 letters of 16 in a row of 4096)
"""

from typing import Annotated

import numpy as np

from blockyard.core.settings import Count
from blockyard.task._base import Draw, Examples, Predictor, Task, blank, fits, latest


class SelectiveCopying(Task):
    variants = ({}, dict(count=16, length=128, letters=16))
    first = "57ef8e54b51e"

    def __init__(
        self, *, count: Annotated[Count, "tokens to copy"] = 4,
        length: Annotated[Count, "tokens of the text they stand in"] = 32,
        letters: Annotated[Count, "different tokens"] = 8,
    ) -> None:  # fmt: skip
        fits(length >= 2 * count, f"selective_copying: count={count} needs length {2 * count} or more, not {length}")
        self.count, self.length, self.letters = count, length, letters
        self.body = length - count
        self.vocab, self.answers = letters + 2, range(letters)

    def sample(self, seed: int, n: int) -> Examples:
        draw = Draw(seed, n)
        data = draw.below(self.letters, self.count)
        tokens = np.full((n, self.length), self.letters)
        tokens[:, self.body :] = self.letters + 1
        np.put_along_axis(tokens, np.sort(draw.distinct(self.count, self.body), 1), data, 1)
        targets = blank(tokens)
        targets[:, self.body :] = data
        return Examples(tokens, targets)

    def solve(self, tokens: np.ndarray) -> np.ndarray:
        noise = (tokens < 0) | (tokens >= self.letters)
        found = np.zeros_like(tokens)
        place = np.argsort(noise, axis=1, kind="stable")[:, : self.count]
        found[:, self.body :] = np.take_along_axis(tokens, place, 1)
        return found

    def baselines(self) -> dict[str, Predictor]:
        return {"recent": lambda tokens: latest(tokens, tokens < self.letters)}
