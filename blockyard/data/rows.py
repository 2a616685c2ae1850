"""What training and scoring read: arrays by name, rows first; and an order of rows to train on.

Arrays     {"tokens": (B,T) ids or what else a stem reads, "targets": what is asked, ...}: the fields of a batch
Rows       something long of which any rows can be had as arrays: held in memory, or cut from a longer series
Batches    a batch for every step of training: a pure function of the step
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from blockyard.core.errors import UsageError

Arrays = dict[str, np.ndarray]


class Batches(Protocol):
    """What training reads, step by step. One array (B,T+1) is ids, each to be predicted from those before it."""

    def next(self, step: int) -> np.ndarray | Arrays: ...


class Rows(Protocol):
    """Rows that can be had in any order: `rows.take(index)` gives the arrays of these."""

    def __len__(self) -> int: ...

    def take(self, index: Any) -> Arrays: ...


@dataclass(frozen=True, eq=False)
class Held:
    """Rows in memory: every array has one entry a row."""

    arrays: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def take(self, index: Any) -> Arrays:
        """The arrays of the rows of an index or a slice."""
        return {name: values[index] for name, values in self.arrays.items()}


@dataclass(frozen=True, eq=False)
class RowOrder:
    """Every row once an epoch, in an order that the seed alone decides; an epoch goes on inside a batch, none is cut.

    rows   what is drawn from        batch   rows a step
    """

    rows: Rows
    batch: int
    seed: int
    _epochs: dict[int, np.ndarray] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not len(self.rows):
            raise UsageError("there is no row to train on; give more data")

    def next(self, step: int) -> Arrays:
        """The rows of a step, whatever was asked before."""
        places = np.arange(self.batch, dtype=np.int64) + step * self.batch
        epochs, index = places // len(self.rows), places % len(self.rows)
        return self.rows.take(np.array([self._order(int(e))[i] for e, i in zip(epochs, index)]))

    def _order(self, epoch: int) -> np.ndarray:
        """The rows of an epoch in the order drawn; the last two epochs are kept."""
        if epoch not in self._epochs:
            for old in [e for e in self._epochs if e != epoch - 1]:
                del self._epochs[old]
            self._epochs[epoch] = permutation(len(self.rows), self.seed, epoch)
        return self._epochs[epoch]


def permutation(count: int, *key: int) -> np.ndarray:
    """(count,) the numbers below `count` in an order that follows from these whole numbers on every machine."""
    bits = np.random.PCG64(np.random.SeedSequence([part % 2**64 for part in key]))
    return np.argsort(bits.random_raw(count), kind="stable")  # numpy keeps these streams, not those of its shuffles
