"""What a table holds that no row trains: empty cells and words are shown now and then, so that they mean something.

    a cell in a hundred trains as if it were empty        a word in a hundred as one that is not known (place 0)

So a column that lacks no cell where it trains can lack one later, and a word of later is another thing than any that
is known. Which cells these are follows from the seed and the step. Rows that are scored stay as they are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from blockyard.core.errors import brief
from blockyard.core.random import fold
from blockyard.data.rows import Arrays, Batches
from blockyard.task._cells import Column, lacking

SHARE = 0.01  # of the cells, and of the words
NAMED = 3  # columns and words that a note names


@dataclass(frozen=True)
class Sparse:
    """Batches of which some cells are taken away.

    levels   how many words each column knows; 0: it holds numbers
    """

    main: Batches
    levels: Sequence[int]
    seed: int

    def next(self, step: int) -> Arrays:
        """The rows of a step; the fields that hold cells have some taken away."""
        found = self.main.next(step)
        assert isinstance(found, dict), "rows of a table have fields"
        names = [name for name in ("tokens", "beside") if name in found]
        return {**found, **{name: self._less(found[name], fold(name, self.seed, step)) for name in names}}

    def _less(self, cells: np.ndarray, seed: int) -> np.ndarray:
        raw = np.random.PCG64(np.random.SeedSequence(seed)).random_raw(cells.shape)
        draw = (raw >> np.uint64(11)) * 2.0**-53
        unknown = (draw >= SHARE) & (draw < 2 * SHARE) & np.isfinite(cells) & (np.array(self.levels) > 0)
        return np.where(draw < SHARE, np.float32(np.nan), np.where(unknown, np.float32(0), cells))


def unseen(
    columns: Sequence[Column], values: Mapping[str, np.ndarray], train: np.ndarray, scored: np.ndarray
) -> list[str]:
    """What must be said of plain columns: words, and empty cells, of rows that are scored and in none that trains."""
    words, empty = [], []
    for column in columns:
        cells = values[column.name]
        there, lacks = cells[scored], lacking(cells[scored])
        if lacks.any() and not lacking(cells[train]).any():
            empty.append(f"{column.name} ({lacks.sum():,})")
        if column.words:
            known = {word for word in cells[train] if word is not None}
            new = [word for word in there if word is not None and word not in known]
            if new:
                words.append(f"{column.name} ({listed(dict.fromkeys(new))}; {len(new):,})")
    notes = []
    if words:
        notes = [f"words that no row trains, by column and rows that are scored: {_few(words)}: read as not known"]
    if empty:
        notes.append(f"empty cells in scored rows, and none in those that train: {_few(empty)}")
    return notes


def listed(words: Mapping[str, None] | Sequence[str]) -> str:
    """A few words, as they stand."""
    return _few([brief(repr(word), 24) for word in words])


def _few(words: Sequence[str]) -> str:
    more = f" and {len(words) - NAMED} more" if len(words) > NAMED else ""
    return ", ".join(words[:NAMED]) + more
