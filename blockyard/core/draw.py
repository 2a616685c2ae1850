"""Random numbers of examples, the same on every machine: drawn from raw bits, whose streams numpy promises to keep."""

from typing import Any

import numpy as np


class Draw:
    """Random numbers for `rows` rows: each method gives one row of numbers an example."""

    def __init__(self, seed: int, rows: int, stream: int = 0) -> None:
        self.key, self.rows, self.made = (stream, seed % 2**64), rows, 0

    def raw(self, *shape: int) -> np.ndarray:
        """uint64 of 64 random bits (rows, *shape); every call draws new ones."""
        bits = np.random.PCG64(np.random.SeedSequence([*self.key, self.made]))
        self.made += 1
        return np.asarray(bits.random_raw((self.rows, *shape)))

    def uniform(self, *shape: int) -> np.ndarray:
        """Numbers in (0,1)."""
        return ((self.raw(*shape) >> np.uint64(12)) + 0.5) * 2.0**-52

    def below(self, high: Any, *shape: int) -> np.ndarray:
        """int64 from 0 to high - 1; `high` may differ along the shape."""
        return (self.raw(*shape) % np.asarray(high, np.uint64)).astype(np.int64)

    def order(self, count: int) -> np.ndarray:
        """(rows,count) permutations."""
        return np.argsort(self.raw(count), axis=1, kind="stable")

    def distinct(self, count: int, of: int) -> np.ndarray:
        """(rows,count) different numbers below `of`, in random order (Floyd's sample, then a shuffle)."""
        last = np.arange(of - count, of)
        picked = self.below(last + 1, count)
        for i in range(1, count):
            again = (picked[:, :i] == picked[:, i : i + 1]).any(1)
            picked[again, i] = last[i]
        return np.take_along_axis(picked, self.order(count), 1)

    def normal(self, *shape: int) -> np.ndarray:
        """Normal numbers, of two even ones each."""
        return np.sqrt(-2 * np.log(self.uniform(*shape))) * np.cos(2 * np.pi * self.uniform(*shape))
