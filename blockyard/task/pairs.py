"""Name the class of two texts, such as whether one follows from the other.

    error = the share of held-out pairs that get another class than theirs; macro-F1 beside it

A row is the first text, a mark, and the second one.

Shapes   tokens, kinds (n,T) int64, kinds 1 in the second text; valid (n,T); targets (n,)
Source   arXiv 1810.04805    Family  text
Differs  classes are read off the mean of the tokens, not off the first one
"""

from typing import Annotated

import numpy as np

from blockyard.core.errors import UsageError
from blockyard.core.settings import Count, Word
from blockyard.data.annotated import Rows, digest
from blockyard.data.items import Items, labelled
from blockyard.data.rows import Held
from blockyard.task._base import DataTask
from blockyard.task._labelled import Labelled


class Pairs(DataTask):
    of = ("rows of texts",)
    variants = ({}, dict(length=64))

    def __init__(
        self, *, first: Annotated[Word, "the column of the first text"] = "first",
        second: Annotated[Word, "the column of the second text"] = "second",
        label: Annotated[Word, "the column of the class"] = "label",
        length: Annotated[Count, "most ids of both texts; none: as many as most have, 256 at most"] | None = None,
        rows: Annotated[Count, "how many pairs train at most; none: all that are not held out"] | None = None,
    ) -> None:  # fmt: skip
        self.first, self.second, self.label, self.length, self.rows = first, second, label, length, rows

    def material(self, data: Rows) -> Labelled:
        return Labelled(repr(self), self._items(data), None, self.length, self.rows)

    def _items(self, data: Rows) -> Items:
        """The pairs as things with a label: those without a text or a class, and copies, are left out."""
        columns = data.table.columns
        names = [self.first, self.second, self.label]
        lacking = [name for name in names if name not in columns]
        if lacking:
            raise UsageError(
                f"{data.name} has no column {lacking[0]!r}; columns: {', '.join(list(columns)[:12])}\n"
                f"name those of the texts and the class: --task pairs:first=COLUMN,second=COLUMN,label=COLUMN"
            )
        found: dict[tuple[str, str], str] = {}
        for row in zip(*(_words(columns[name]) for name in names)):
            if all(row):
                found.setdefault((row[0], row[1]), row[2])
        lost = len(data.table) - len(found)
        notes = (f"{lost} of {len(data.table)} rows lack a text or a class, or repeat another one, and are left out",)
        if not found:
            raise UsageError(f"{data.name} has no row with both texts and a class")
        texts = np.empty(len(found), object)
        texts[:] = [tuple(text.encode() for text in pair) for pair in found]
        labels, classes = labelled(data.name, "pairs", list(found.values()))
        unit = np.unique([digest(a) for a, _ in found], return_inverse=True)[1]  # pairs that share a text stay together
        return Items(
            data.name, data.hash, "pairs", Held({"tokens": texts}), labels, classes,
            names=[digest(pair) for pair in found], unit=unit if len(set(unit.tolist())) < len(found) else None,
            codec=data.codec, notes=(*data.table.notes, *(notes if lost else ())),
        )  # fmt: skip


def _words(cells: np.ndarray) -> list[str]:
    """A column as words: whole numbers without a point, nothing where a cell is empty."""
    if cells.dtype.kind == "f":
        return ["" if x != x else str(int(x)) if x == int(x) else str(x) for x in cells.tolist()]
    return ["" if cell is None else str(cell) for cell in cells]
