"""Errors by slice: of rows by how hard they are, or of answers by which of a row they are; for any task of ids.

    Slicing("length", ("8", "16"), index)     index(examples) -> (n,) the piece of a row, or (n,T) of a place; -1: none

Of a piece of rows the error is the share of rows that are wrong; of a piece of places, the share of answers there. Each
piece is a further figure, `error at length 8`, and each slicing a line over its pieces.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from blockyard.task._base import Examples
from blockyard.task._exhibit import Exhibit, Line
from blockyard.task._metric import Metric

RATE, BANDS = "error rate", 4


@dataclass(frozen=True)
class Slicing:
    """What differs (`name`), its values in order (`pieces`), and which of them each row or place is of (`index`)."""

    name: str
    pieces: tuple[str, ...]
    index: Callable[[Examples], np.ndarray]

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """A figure for each piece."""
        return tuple(Metric(f"error at {self.name} {piece}", RATE, "lower", 0.0, 1.0) for piece in self.pieces)

    def amounts(self, wrong: np.ndarray, examples: Examples) -> np.ndarray:
        """(n,2k) of each row and piece how much is wrong and how much is asked, from the wrong answers (n,T)."""
        index, asked = self.index(examples), examples.targets >= 0
        if index.ndim == 1:  # a row counts once, and is wrong if anything in it is
            index, wrong, asked = (each.reshape(len(each), -1).max(1)[:, None] for each in (index, wrong, asked))
        there = (index[..., None] == np.arange(len(self.pieces))) & asked[..., None]
        return np.stack([(there & wrong[..., None]).sum(1), there.sum(1)], 2).reshape(len(index), -1)

    def shares(self, sums: np.ndarray) -> list[float]:
        """The error of every piece, from the sums (2k,) of all rows; not a number where nothing is of it."""
        return [float(wrong / asked) if asked else float("nan") for wrong, asked in sums.reshape(-1, 2)]

    def exhibit(self, sums: np.ndarray) -> Exhibit:
        """The error over the pieces."""
        numbers = all(piece.isdigit() for piece in self.pieces)
        x = [float(piece) if numbers else float(i) for i, piece in enumerate(self.pieces)]
        y = [None if np.isnan(share) else share for share in self.shares(sums)]
        what = self.name if numbers else f"{self.name}: {', '.join(self.pieces)}"
        return Exhibit(f"Error by {self.name}", what, RATE, lines=[Line("model", x, y)])


def bands(low: int, high: int) -> tuple[tuple[str, ...], Callable[[np.ndarray], np.ndarray]]:
    """The last numbers of a few bands from low to high, as pieces, and which band numbers (n,) are of."""
    ends = np.unique(low - 1 + (high - low + 1) * np.arange(1, BANDS + 1) // BANDS)
    ends = ends[ends >= low]
    return tuple(map(str, ends)), lambda numbers: np.searchsorted(ends, numbers)


def figures(slicings: Sequence[Slicing], sums: np.ndarray) -> dict[str, float]:
    """The figures of all slicings by name, from their sums side by side."""
    found, at = {}, 0
    for each in slicings:
        width = 2 * len(each.pieces)
        found |= dict(zip([metric.name for metric in each.metrics], each.shares(sums[at : at + width])))
        at += width
    return found
