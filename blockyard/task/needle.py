"""Needles in a haystack: marked pairs of a key and a value lost among words, then some keys to answer.

    w w ! k3 v1 w w w ! k1 v7 w ... w  ? k1  ? k3            asked at every key behind a ?: its value

The needles stand at random places, in random order, and never touch the questions; keys are different.

Shapes   ids: 0..words-1 the hay, then keys, values, !, ?    T = length >= 3 needles + 2 asks, questions last
         chance 1/values
Source   arXiv 2404.06654    Family  recall
Differs  ids in place of sentences; the hay is random words
"""

from typing import Annotated

import numpy as np

from blockyard.core.settings import Count
from blockyard.task._base import Draw, Examples, Predictor, Task, blank, fits, latest, look_up


class Needle(Task):
    variants = ({}, dict(needles=1, asks=1, length=5), dict(needles=8, asks=8, length=200))
    first = "51fad17528d7"

    def __init__(
        self, *, needles: Annotated[Count, "pairs hidden in the text"] = 3,
        asks: Annotated[Count, "how many of them are asked for"] = 2,
        length: Annotated[Count, "tokens of a row"] = 48,
        words: Annotated[Count, "different tokens of the text"] = 16, keys: Annotated[Count, "different keys"] = 8,
        values: Annotated[Count, "different values"] = 8,
    ) -> None:  # fmt: skip
        fits(asks <= needles <= keys, f"needle: needs asks <= needles <= keys, not {asks} <= {needles} <= {keys}")
        need = 3 * needles + 2 * asks
        fits(length >= need, f"needle: needles={needles} and asks={asks} need length {need} or more, not {length}")
        self.needles, self.asks, self.length = needles, asks, length
        self.words, self.keys, self.values = words, keys, values
        self.body = length - 2 * asks
        self.vocab, self.answers = words + keys + values + 2, range(words + keys, words + keys + values)

    def sample(self, seed: int, n: int) -> Examples:
        draw = Draw(seed, n)
        keys = self.words + draw.distinct(self.needles, self.keys)
        values = self.answers.start + draw.below(self.values, self.needles)
        place = np.sort(draw.distinct(self.needles, self.body - 2 * self.needles), 1) + 2 * np.arange(self.needles)
        tokens = draw.below(self.words, self.length)
        for offset, what in enumerate((np.full_like(keys, self.vocab - 2), keys, values)):
            np.put_along_axis(tokens, place + offset, what, 1)
        asked = draw.distinct(self.asks, self.needles)
        tokens[:, self.body :: 2] = self.vocab - 1
        tokens[:, self.body + 1 :: 2] = np.take_along_axis(keys, asked, 1)
        targets = blank(tokens)
        targets[:, self.body + 1 :: 2] = np.take_along_axis(values, asked, 1)
        return Examples(tokens, targets)

    def solve(self, tokens: np.ndarray) -> np.ndarray:
        marks = np.argsort(tokens != self.vocab - 2, axis=1, kind="stable")[:, : self.needles]
        key, value = ((marks + offset).clip(max=self.length - 1) for offset in (1, 2))
        return look_up(tokens, np.take_along_axis(tokens, key, 1), np.take_along_axis(tokens, value, 1))

    def baselines(self) -> dict[str, Predictor]:
        return {"recent": lambda tokens: latest(tokens, np.isin(tokens, self.answers))}
