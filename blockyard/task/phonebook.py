"""Phone book: a list of names and numbers, then some of the names, to be answered digit by digit.

    ab 31  ca 07  ba 55  ?ca 07  ?ab 31          asked from the last letter of an asked name on: each next digit

The digits of an answer stand in the input once they were asked for. Names are different, and so are the asked ones.

Shapes   ids: 0..alphabet-1 letters, ten digits, then ?    chance 1/10
         T = entries (letters + digits) + asks (1 + letters + digits) - 1
Source   arXiv 2402.01032    Family  recall
Differs  names of few letters (paper: names and numbers of a tokeniser); several questions, no demonstrations
"""

from typing import Annotated

import numpy as np

from blockyard.core.settings import Count
from blockyard.task._base import Draw, Examples, Task, blank, fits
from blockyard.task._book import book, checked, number_of


class Phonebook(Task):
    grows = ("entries",)
    variants = ({}, dict(entries=16, asks=1, letters=3, digits=4, alphabet=26))
    first = "76e222f90224"

    def __init__(
        self, *, entries: Annotated[Count, "names in the book"] = 4,
        asks: Annotated[Count, "how many of them are asked for"] = 2,
        letters: Annotated[Count, "letters of a name"] = 2, digits: Annotated[Count, "digits of a number"] = 2,
        alphabet: Annotated[Count, "different letters"] = 16,
    ) -> None:  # fmt: skip
        checked(entries, letters, digits, alphabet)
        fits(asks <= entries, f"phonebook: asks={asks} need as many entries, not {entries}")
        self.entries, self.asks, self.letters, self.digits, self.alphabet = entries, asks, letters, digits, alphabet
        self.width = letters + digits
        self.length = entries * self.width + asks * (1 + self.width) - 1
        self.vocab, self.answers = alphabet + 11, range(alphabet, alphabet + 10)

    def sample(self, seed: int, n: int) -> Examples:
        draw = Draw(seed, n)
        listed = book(draw, self.entries, self.letters, self.digits, self.alphabet)
        asked = np.take_along_axis(listed, draw.distinct(self.asks, self.entries)[..., None], 1)
        asked = np.concatenate([np.full((n, self.asks, 1), self.alphabet + 10), asked], 2)
        row = np.concatenate([listed.reshape(n, -1), asked.reshape(n, -1)], 1)
        targets = blank(row[:, 1:])
        for start in self._questions():
            targets[:, start : start + self.digits] = row[:, start + 1 : start + 1 + self.digits]
        return Examples(row[:, :-1], targets)

    def _questions(self) -> range:
        """The places of the last letters of the asked names."""
        return range(self.entries * self.width + self.letters, self.length, 1 + self.width)

    def solve(self, tokens: np.ndarray) -> np.ndarray:
        found = np.zeros_like(tokens)
        listed = tokens[:, : self.entries * self.width].reshape(len(tokens), self.entries, self.width)
        for last in self._questions():
            found[:, last : last + self.digits] = number_of(tokens[:, last - self.letters + 1 : last + 1], listed)
        return found
