"""Ways to cut a string of letters into tokens: what a token is, whatever model reads it.

    characters   a b b a            chunks   ab ba            merged   abb a, by pairs that are often neighbours
    separated    a , b , b , a      quoted   " a " , " b " , " b " , " a "

Ids are the letters 0..A-1, then those of the policy. `table` says which letters an id stands for, so that decoding,
boundaries and the copies of a letter in a token follow from it alone.

Shapes   letters (n,L), ids (n,K): -1 behind short ones    table (V,W): -1 behind short ones; none for a separator
Source   arXiv 2410.19730    Slug  counting-tokenization
"""

from abc import ABC, abstractmethod
from functools import lru_cache
from itertools import product

import numpy as np

from blockyard.core.draw import Draw
from blockyard.data.tokens import Bpe
from blockyard.task._base import at_least, fits
from blockyard.task._traced import packed

MOST = 1 << 14  # ids of a policy
SHOWN = 2048, 24  # strings that merges are learned from, and their letters


class Policy(ABC):
    """A way to cut. `wide` times as many tokens as letters at most."""

    wide = 1

    def __init__(self, letters: int, tokens: list[tuple[int, ...]]) -> None:
        """`tokens` are the letters that each id of its own stands for."""
        self.letters, longest = letters, max([1, *map(len, tokens)])
        all_ids = [*((i,) for i in range(letters)), *tokens]
        self.table = np.array([[*each, *[-1] * (longest - len(each))] for each in all_ids], np.int64)

    @abstractmethod
    def encode(self, text: np.ndarray) -> np.ndarray:
        """(n,K) the ids of strings (n,L)."""

    def decode(self, ids: np.ndarray) -> np.ndarray:
        """(n,L) the letters that ids stand for."""
        letters = np.where((ids >= 0)[..., None], self.table[np.maximum(ids, 0)], -1).reshape(len(ids), -1)
        return packed(letters, int((letters >= 0).sum(1).max(initial=0)))

    def boundaries(self, text: np.ndarray) -> np.ndarray:
        """(n,L) which letters begin a token."""
        ids = self.encode(text)
        sizes = np.where(ids >= 0, (self.table >= 0).sum(1)[np.maximum(ids, 0)], 0)
        starts = np.where(sizes > 0, sizes.cumsum(1) - sizes, text.shape[1])
        found = np.zeros((len(text), text.shape[1] + 1), bool)
        np.put_along_axis(found, starts, True, 1)
        return found[:, :-1]

    def copies(self, letter: int) -> np.ndarray:
        """(V,) how often a letter stands in each id."""
        return (self.table == letter).sum(1)


class Chunks(Policy):
    """As many letters a token, fewer in the last; chunks of one are the characters."""

    def __init__(self, letters: int, size: int) -> None:
        at_least(1, size=size)
        fits(size == 1 or letters**size < MOST, f"counting: size={size} makes {letters}^{size} chunks, too many")
        super().__init__(letters, [each for r in range(2, size + 1) for each in product(range(letters), repeat=r)])
        self.size = size
        self._first = np.array([0, *(letters**r for r in range(1, size + 1))]).cumsum()  # the ids below each size

    def encode(self, text: np.ndarray) -> np.ndarray:
        text = np.pad(text, ((0, 0), (0, -text.shape[1] % self.size)), constant_values=-1)
        chunks = text.reshape(len(text), -1, self.size)
        value, sizes = np.zeros(chunks.shape[:2], np.int64), (chunks >= 0).sum(2)
        for each in np.moveaxis(chunks, 2, 0):
            value = np.where(each >= 0, value * self.letters + each, value)
        return np.where(sizes > 0, value + self._first[np.maximum(sizes, 1) - 1], -1)


class Between(Policy):
    """Every letter a token, with marks around it (`before`, `after`) and one between two."""

    def __init__(self, letters: int, quoted: bool) -> None:
        super().__init__(letters, [()] * (2 if quoted else 1))
        self.wide = 4 if quoted else 2
        self.marks = [letters + 1, None, letters + 1, letters] if quoted else [None, letters]

    def encode(self, text: np.ndarray) -> np.ndarray:
        there = text >= 0
        last = there & (np.arange(text.shape[1]) == there.sum(1, keepdims=True) - 1)
        items = [text if mark is None else np.where(there, mark, -1) for mark in self.marks]
        items[-1] = np.where(last, -1, items[-1])
        return packed(np.stack(items, 2).reshape(len(text), -1), self.wide * text.shape[1])


class Merged(Policy):
    """Byte pairs: at most `size` tokens of several letters, learned from strings like these."""

    def __init__(self, letters: int, size: int) -> None:
        self._codec = _learned(letters, size)
        pieces = [tuple(byte - 97 for byte in self._codec.decode_utf8([i])) for i in range(self._codec.vocab)]
        tokens = [each for each in pieces if len(each) > 1]
        super().__init__(letters, tokens)
        single: list[tuple[int, ...]] = [(i,) for i in range(letters)]
        own = {each: i for i, each in enumerate([*single, *tokens])}
        self._own = np.array([own.get(each, -1) for each in pieces])

    def encode(self, text: np.ndarray) -> np.ndarray:
        found, strings = np.full(text.shape, -1), ((97 + row[row >= 0]).astype(np.uint8).tobytes() for row in text)
        for row, ids in zip(found, self._codec.encode_each(strings)):
            row[: len(ids)] = self._own[ids]
        return found


@lru_cache
def _learned(letters: int, size: int) -> Bpe:
    rows, length = SHOWN
    text = 97 + Draw(0, rows).below(letters, length)
    return Bpe.train([bytes(row) for row in text.astype(np.uint8)], 256 + size)


def policy(name: str, letters: int, size: int) -> Policy:
    """The policy of a name; `size` is the letters of a chunk, or how many merges there are."""
    makers = {
        "characters": lambda: Chunks(letters, 1), "chunks": lambda: Chunks(letters, size),
        "merged": lambda: Merged(letters, size), "separated": lambda: Between(letters, False),
        "quoted": lambda: Between(letters, True),
    }  # fmt: skip
    fits(name in makers, f"counting: tokens={name} must be one of {', '.join(makers)}")
    return makers[name]()
