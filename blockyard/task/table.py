"""Predict one column of a table from the others: a class where words stand in it or few whole numbers, else a number.

    error          the share of wrong classes; log loss and, of two classes, the area under the curve beside it
    unexplained    the squared error by the variance of the target where it trains; R2, rmse and mae beside it

Shapes   tokens (n,C) float32: scaled numbers or places of words, not a number where a cell lacks   targets (n) or (n,1)
Source   none    Family  tables
Differs  nothing known
"""

from typing import Annotated, Literal

from blockyard.core.errors import UsageError, unknown
from blockyard.core.settings import Count, Word
from blockyard.data.table import Table as Columns
from blockyard.task._base import DataTask
from blockyard.task._chosen import chosen
from blockyard.task._tabular import Tabular


class Table(DataTask):
    of = ("table",)

    def __init__(
        self, *, target: Annotated[str | int | float, "the column to predict; it must be named"] | None = None,
        kind: Annotated[Literal["classes", "numbers"], "what it holds; none: as its cells look"] | None = None,
        drop: Annotated[Word, "columns to leave out, with + between them"] | None = None,
        keep: Annotated[Word, "columns to read although they give the answer away, with + between them"] | None = None,
        beside: Annotated[Word, "a column with a word in every row that only pretrains; not read itself"] | None = None,
        rows: Annotated[Count, "how many rows train at most; none: all that are not held out"] | None = None,
    ) -> None:  # fmt: skip
        self.target = None if target is None else str(target)
        self.kind, self.drop, self.keep, self.beside, self.rows = kind, drop, keep, beside, rows

    def material(self, data: Columns) -> Tabular:
        dropped, kept, target = _names(self.drop), _names(self.keep), self.target
        if target is None:
            names = ", ".join(list(data.columns)[:12])
            raise UsageError(f"{data.name}: say what to predict, --task table:target=COLUMN; columns: {names}")
        for name in (target, *dropped, *kept, *_names(self.beside)):
            if name not in data.columns:
                raise unknown(f"column of {data.name}", name, data.columns)
        found = chosen(data, target, self.kind, {*dropped, target}, kept, self.beside, self.rows)
        return Tabular(data, repr(self), target, found)


def _names(text: str | None) -> list[str]:
    return [name for name in (text or "").split("+") if name]
