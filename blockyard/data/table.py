"""A table: columns of numbers, words and times, as a file has them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from blockyard.core.errors import UsageError


@dataclass(frozen=True, eq=False)
class Table:
    """Columns by name, of one length.

    hash      of names and cells
    columns   numbers are float64 with NaN where a cell is empty, times datetime64, all else words (object: str or None)
    time      the column that says when, rising from row to row; None: there is none
    """

    name: str
    hash: str
    columns: Mapping[str, np.ndarray]
    time: str | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def usually(self) -> str:
        """The task that such a table is for where none is named: a forecast, where it says when."""
        if self.time is not None:
            return "forecast"
        names = ", ".join(list(self.columns)[:12])
        raise UsageError(
            f"{self.name} is a table without a column of times: say what to predict, --task table:target=COLUMN\n"
            f"columns: {names}; to read it as plain text: --task next_token"
        )
