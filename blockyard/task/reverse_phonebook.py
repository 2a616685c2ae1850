"""Reversed phone book: first the name, then a list of names and numbers, then the question for its number.

    ?ca  ab 31  ca 07  ba 55  ?07                asked from the last mark on: each next digit

Who is asked for is known before the list is read, so that a small memory is enough.

Shapes   ids: 0..alphabet-1 letters, ten digits, then ?    chance 1/10
         T = 1 + letters + entries (letters + digits) + digits
Source   arXiv 2406.07887    Family  recall
Differs  names of few letters (paper: names and numbers of a tokeniser); no demonstrations
"""

from typing import Annotated

import numpy as np

from blockyard.core.settings import Count
from blockyard.task._base import Draw, Examples, Task, blank
from blockyard.task._book import book, checked, number_of


class ReversePhonebook(Task):
    grows = ("entries",)
    variants = ({}, dict(entries=16, digits=1, letters=1, alphabet=16))
    first = "6d7a5a2d8ac4"

    def __init__(
        self, *, entries: Annotated[Count, "names in the book"] = 4,
        letters: Annotated[Count, "letters of a name"] = 2, digits: Annotated[Count, "digits of a number"] = 2,
        alphabet: Annotated[Count, "different letters"] = 16,
    ) -> None:  # fmt: skip
        checked(entries, letters, digits, alphabet)
        self.entries, self.letters, self.digits, self.alphabet = entries, letters, digits, alphabet
        self.width = letters + digits
        self.length = 1 + letters + entries * self.width + digits
        self.vocab, self.answers = alphabet + 11, range(alphabet, alphabet + 10)

    def sample(self, seed: int, n: int) -> Examples:
        draw = Draw(seed, n)
        listed = book(draw, self.entries, self.letters, self.digits, self.alphabet)
        asked = listed[np.arange(n), draw.below(self.entries)]
        mark = np.full((n, 1), self.alphabet + 10)
        name, number = asked[:, : self.letters], asked[:, self.letters :]
        tokens = np.concatenate([mark, name, listed.reshape(n, -1), mark, number[:, :-1]], 1)
        targets = blank(tokens)
        targets[:, -self.digits :] = number
        return Examples(tokens, targets)

    def solve(self, tokens: np.ndarray) -> np.ndarray:
        found, first = np.zeros_like(tokens), 1 + self.letters
        listed = tokens[:, first : first + self.entries * self.width].reshape(len(tokens), self.entries, self.width)
        found[:, -self.digits :] = number_of(tokens[:, 1:first], listed)
        return found
