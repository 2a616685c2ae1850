"""Predict one column of a table from the others: a class where words stand in it or few whole numbers, else a number.

    error          the share of wrong classes; log loss and, of two classes, the area under the curve beside it
    unexplained    the squared error by the variance of the target where it trains; R2, rmse and mae beside it

Shapes   tokens (n,C) float32: scaled numbers, or places of words; not a number where a cell lacks   targets (n) or (n,1)
Source   none    Family  tables
Differs  nothing known
"""

from typing import Annotated, Literal

from blockyard.core.errors import unknown
from blockyard.core.settings import Word
from blockyard.data.table import Table as Columns
from blockyard.task._base import DataTask
from blockyard.task._chosen import chosen
from blockyard.task._tabular import Tabular


class Table(DataTask):
    of = ("table",)

    def __init__(
        self, *, target: Annotated[str | int | float, "the column to predict"],
        kind: Annotated[Literal["classes", "numbers"], "what it holds; none: as its cells look"] | None = None,
        drop: Annotated[Word, "columns to leave out, with + between them"] | None = None,
        keep: Annotated[Word, "columns to read although they give the answer away, with + between them"] | None = None,
        beside: Annotated[Word, "a column with a word in every row that only pretrains; not read itself"] | None = None,
    ) -> None:  # fmt: skip
        self.target, self.kind, self.drop, self.keep, self.beside = str(target), kind, drop, keep, beside

    def material(self, data: Columns) -> Tabular:
        dropped, kept = _names(self.drop), _names(self.keep)
        for name in (self.target, *dropped, *kept, *_names(self.beside)):
            if name not in data.columns:
                raise unknown(f"column of {data.name}", name, data.columns)
        found = chosen(data, self.target, self.kind, {*dropped, self.target}, kept, self.beside)
        return Tabular(data, repr(self), self.target, found)


def _names(text: str | None) -> list[str]:
    return [name for name in (text or "").split("+") if name]
