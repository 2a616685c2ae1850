"""What is odd in the columns of a table, and is read all the same: words among numbers, numbers that count the rows."""

from collections.abc import Sequence

import numpy as np

from blockyard.core.errors import brief
from blockyard.data.table import Table, numbers
from blockyard.task._strands import LOOKS
from blockyard.task._unseen import listed


def odd_word(data: Table, name: str) -> str:
    """The row, the column and the first cell that is no number where most others look like numbers; or nothing."""
    cells = data.columns[name]
    if cells.dtype.kind != "O":
        return ""
    there = [(row, cell) for row, cell in enumerate(cells, 1) if cell is not None]
    if 2 * sum(LOOKS.fullmatch(cell) is not None for _, cell in there) <= len(there):
        return ""
    odd = next(((row, cell) for row, cell in there if numbers([cell]) is None), None)
    if odd is None:
        return ""
    return f"{data.name} row {odd[0]}: column {brief(name)} holds {brief(repr(odd[1]))} among numbers"


def doubts(data: Table, read: Sequence[str]) -> list[str]:
    """What must be said of columns that are read."""
    notes = [f"{odd}: the column is read as words" for name in read if (odd := odd_word(data, name))]
    counting = [name for name in read if _counts(data.columns[name])]
    if counting:
        notes.append(f"{listed(counting)}: counts the rows of the file, and is read as a number; drop= leaves it out")
    return notes


def _counts(cells: np.ndarray) -> bool:
    """Whether these are whole numbers, each the one before and one more."""
    return cells.dtype.kind == "f" and len(cells) > 1 and bool((np.diff(cells) == 1).all())
