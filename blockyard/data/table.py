"""A table: columns of numbers, words and times, as a file has them.

A column is what all of its cells are: numbers, else times, else words. Numbers may have a decimal comma where commas
part no cells. Times are years first (2016-07-01 00:00:00, with a T, slashes or a zone as well), or days or months first
(1.7.2016, 7/1/2016): months where both can be meant and slashes stand between.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from blockyard.core.errors import UsageError, brief
from blockyard.data.times import MISSING, WAYS, compact_days, odd_time


@dataclass(frozen=True, eq=False)
class Table:
    """Columns by name, of one length.

    hash      of names and cells
    columns   numbers are float64 with NaN where a cell is empty, times datetime64, all else words (object: str or None)
    time      the column that says when, rising from row to row; None: there is none
    turned    whether the rows of the file ran backwards in it
    """

    name: str
    hash: str
    columns: Mapping[str, np.ndarray]
    time: str | None = None
    notes: tuple[str, ...] = ()
    turned: bool = False

    @staticmethod
    def of(name: str, columns: Mapping[str, np.ndarray], notes: Sequence[str] = ()) -> "Table":
        """A table of these columns: its hash made, its column of times found, rows that run backwards turned round."""
        columns = dict(columns)
        time, turned = next((each for each, cells in columns.items() if _rises(cells)), None), False
        if time is None and (time := next((each for each, c in columns.items() if _rises(c[::-1])), None)) is not None:
            columns = {each: cells[::-1].copy() for each, cells in columns.items()}
            turned = True
            notes = [*notes, f"{name}: the rows run backwards in {time} and are turned round"]
        return Table(name, _hash(columns), columns, time, tuple(notes), turned)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def numbers(self) -> dict[str, np.ndarray]:
        """The columns of numbers."""
        return {name: cells for name, cells in self.columns.items() if cells.dtype.kind == "f"}

    def usually(self) -> str:
        """The task that such a table is for where none is named: a forecast, where it says when."""
        if self.time is not None:
            return "forecast"
        names = ", ".join(list(self.columns)[:12])
        near = next((f" ({said})" for each, cells in self.columns.items() if (said := _nearly(each, cells))), "")
        raise UsageError(
            f"{self.name} is a table without a column of times{near}: say what to predict, --task table:target=COLUMN\n"
            f"columns: {names}; to read it as plain text: --task next_token"
        )


def _rises(cells: np.ndarray) -> bool:
    """Whether this is a column of times, none of them empty, that never falls."""
    if cells.dtype.kind != "M" or len(cells) < 2 or np.isnat(cells).any():
        return False
    return bool((np.diff(cells).astype(np.int64) >= 0).all() and cells[-1] > cells[0])


def _nearly(name: str, cells: np.ndarray) -> str:
    """Why a column that holds times nearly throughout does not say when the rows were; nothing for any other column."""
    if cells.dtype.kind == "O" and (at := odd_time(cells.tolist())) is not None:
        return f"row {at + 1}: column {brief(name)} holds {brief(repr(cells[at]))} among times"
    if cells.dtype.kind != "M" or len(cells) < 2:
        return ""
    if (lacking := np.isnat(cells)).any():
        return f"row {int(lacking.argmax()) + 1}: column {brief(name)} is empty"
    falls = np.diff(cells).astype(np.int64) < 0
    at = int(falls.argmax()) + 2
    return f"row {at}: column {brief(name)} is earlier than in row {at - 1}" if falls.any() else ""


def _hash(columns: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name, cells in columns.items():
        digest.update(f"{len(name)} {name} {cells.dtype.kind} {len(cells)} ".encode())
        if cells.dtype.kind == "O":
            for cell in cells:
                digest.update(b"\0" if cell is None else f"{len(cell)} {cell}".encode("utf-8", "surrogatepass"))
        else:
            digest.update(np.ascontiguousarray(cells, "<f8" if cells.dtype.kind == "f" else "<M8[us]").tobytes())
    return digest.hexdigest()


def numbers(cells: Sequence[str]) -> np.ndarray | None:
    """float64, NaN where empty; None where a cell is no number."""
    try:
        return np.array(list(map(float, cells)))
    except ValueError:
        pass
    try:
        found = np.array([math.nan if cell.strip().lower() in MISSING else float(cell) for cell in cells])
    except ValueError:
        return None
    return found if not any("_" in cell for cell in cells) else None  # Python reads 1_000, no table means it


def comma_numbers(cells: Sequence[str]) -> np.ndarray | None:
    """Numbers with a decimal comma."""
    return numbers([cell.replace(",", ".") for cell in cells])


def words(cells: Sequence[str]) -> np.ndarray:
    """Every cell as it stands, without spaces around it; None where it is empty."""
    found = np.empty(len(cells), object)
    found[:] = [cell.strip() or None for cell in cells]
    return found


def kinds(separator: str) -> list[Callable[[Sequence[str]], np.ndarray | None]]:
    """What a column can be, the narrowest first: each reads cells, or says by None that they are something else."""
    return [compact_days, numbers, *([] if separator == "," else [comma_numbers]), *WAYS, words]
