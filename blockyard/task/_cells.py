"""The columns of a table as the numbers that a model reads: scaled where they count, places in a list where they name.

    numbers   less the mean of what trains, by its deviation        times   as days
    words     the place, from 1, among the words that train, the most frequent first; 0: another word
    nothing   not a number, in either

Numbers that are only 0 and 1 count as words: they are an answer, yes or no.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

WORDS = 255  # that a column knows
DAY = np.timedelta64(1, "D")


@dataclass(frozen=True)
class Column:
    """How a column is read: the words that it knows, or the mean and the deviation of its numbers."""

    name: str
    words: tuple[str, ...] = ()
    mean: float = 0.0
    scale: float = 1.0
    places: Mapping[str, int] = field(default_factory=dict, repr=False)

    def cells(self, values: np.ndarray) -> np.ndarray:
        """(n,) float32 of what stands in the table."""
        if not self.words:
            return ((values - self.mean) / self.scale).astype(np.float32)
        return np.array([np.nan if word is None else self.places.get(word, 0) for word in values], np.float32)


def plain(values: np.ndarray) -> np.ndarray:
    """A column as float64 with NaN, or as words with None: times as days, yes and no in numbers as words."""
    if values.dtype.kind == "M":
        return np.where(np.isnat(values), np.nan, (values - np.datetime64(0, "s")) / DAY)
    if values.dtype.kind == "O":
        return values
    values = np.where(np.isfinite(values), values, np.nan).astype(np.float64)
    if {*np.unique(values[~np.isnan(values)])} == {0.0, 1.0}:
        found = np.full(len(values), None, object)
        found[values == 0], found[values == 1] = "0", "1"
        return found
    return values


def lacking(values: np.ndarray) -> np.ndarray:
    """(n,) true where a plain column has no cell."""
    return np.array([each is None for each in values], bool) if values.dtype.kind == "O" else np.isnan(values)


def fitted(name: str, values: np.ndarray) -> Column | str:
    """How to read a plain column, by the rows that train; or why there is nothing to read in it."""
    known = values[~lacking(values)]
    if not len(known):
        return "has no cell to train on"
    if values.dtype.kind != "O":
        mean, scale = float(known.mean()), float(known.std())
        if not scale > 1e-12 * max(1.0, abs(mean)) and len(known) == len(values):
            return "is the same in every row"
        return Column(name, (), mean, scale if scale > 0 else 1.0)
    counts = Counter(known)
    if len(counts) == 1 and len(known) == len(values):
        return "is the same in every row"
    words = [word for word, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if count > 1][:WORDS]
    if not words:
        return "has another word in every row"
    return Column(name, tuple(words), places={word: i for i, word in enumerate(words, 1)})


def codes(values: np.ndarray) -> np.ndarray:
    """(n,) whole numbers, equal where the cells of a plain column are; what lacks is a value of its own."""
    if values.dtype.kind != "O":
        return np.unique(values, return_inverse=True, equal_nan=True)[1]
    seen: dict[Any, int] = {}
    return np.array([seen.setdefault(word, len(seen)) for word in values], np.int64)
