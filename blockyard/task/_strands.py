"""The series of a table, each on an even line of time: none of its times twice, what is missing put in as empty.

A table holds one series, a row a step, or several below one another or mixed, with a column that says which series a
row is of. Rows that are missing are put in where they are few: a series that never has nights has no gaps there.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from blockyard.core.errors import UsageError, brief, unknown
from blockyard.data.steps import Step
from blockyard.data.table import Table
from blockyard.data.times import odd_time

FEW = 0.1  # of the rows that a series has: as many are put in
LOOKS = re.compile(r"[+-]?[€$£]?[+-]?[0-9.,' ]*[0-9][0-9.,' ]*[%€$£]?")  # like a number, however it is written


@dataclass(frozen=True, eq=False)
class Strand:
    """One series of a table.

    name    what the column of series calls it; empty where the table is one series
    values  (n,C) a row a step, NaN where nothing is known        times   (n,) of the rows; None without times
    added   how many rows were missing and are put in             uneven  how many do not follow after one step
    """

    name: str
    values: np.ndarray
    times: np.ndarray | None
    added: int = 0
    uneven: int = 0

    def __len__(self) -> int:
        return len(self.values)


def strands(data: Table, names: Sequence[str], series: str | None = None) -> tuple[list[Strand], Step | None]:
    """The series of these columns and the step of all, in the order in which their names first come."""
    when = clock(data)
    times = None if when is None else data.columns[when]
    values = np.stack([data.columns[name] for name in names], 1)
    found = []
    for name, rows in _rows(data, series).items():
        if times is not None:
            rows = rows[np.argsort(times[rows], kind="stable")] if series else rows
            _refuse_twice(data, str(when), times, rows, series)
        found.append((name, rows))
    if times is None:
        return [Strand(name, values[rows], None) for name, rows in found], None
    longest = max(found, key=lambda each: len(each[1]))[1]
    step = Step.of(times[longest])
    return [_even(name, values[rows], times[rows], step) for name, rows in found], step


def clock(data: Table) -> str | None:
    """The column that says when: the one that rises from row to row, else the first column of times."""
    return data.time or next((name for name, cells in data.columns.items() if cells.dtype.kind == "M"), None)


def refuse_odd(data: Table, name: str) -> None:
    """Refuse a column of words most of which look like numbers: somebody meant numbers."""
    cells = data.columns[name]
    if cells.dtype.kind != "O":
        return
    like = np.array([cell is None or LOOKS.fullmatch(cell) is not None for cell in cells])
    empty = sum(cell is None for cell in cells)
    if 2 * (like.sum() - empty) <= len(cells) - empty:
        if clock(data) is None and (at := odd_time(cells.tolist())) is not None:
            what = f"column {brief(name)} holds {brief(repr(cells[at]))} among times"
            raise UsageError(f"{data.name} row {at + 1}: {what}; write all of them alike, as 2024-01-31 12:00")
        return
    odd = next((i for i, cell in enumerate(cells) if cell is not None and not _plain(cell)), None)
    if odd is not None:
        raise UsageError(
            f"{data.name} row {odd + 1}: column {name} holds {brief(repr(cells[odd]))} among numbers; "
            f"write a number as 1234.5, or leave the cell empty"
        )


def _plain(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _rows(data: Table, series: str | None) -> Mapping[str, np.ndarray]:
    """The rows of each series, by its name."""
    if series is None:
        return {"": np.arange(len(data))}
    if series not in data.columns:
        raise unknown(f"column of {data.name}", series, data.columns)
    cells = data.columns[series]
    empty = np.array([cell is None or cell != cell for cell in cells])
    if empty.any():
        raise UsageError(f"{data.name} row {int(empty.argmax()) + 1}: column {series} is empty: which series is it of?")
    named = [cell if isinstance(cell, str) else f"{cell:g}" if cells.dtype.kind == "f" else str(cell) for cell in cells]
    found: dict[str, list[int]] = {}
    for row, name in enumerate(named):
        found.setdefault(name, []).append(row)
    return {name: np.array(rows) for name, rows in found.items()}


def _refuse_twice(data: Table, when: str, times: np.ndarray, rows: np.ndarray, series: str | None) -> None:
    """Refuse times that are empty, that come twice, or that fall from row to row."""
    mine = times[rows]
    if np.isnat(mine).any():
        raise UsageError(f"{data.name} row {int(rows[np.isnat(mine).argmax()]) + 1}: column {when} is empty")
    wrong = np.diff(mine).astype(np.int64) <= 0
    if not wrong.any():
        return
    at = int(wrong.argmax())
    row, before, said = int(rows[at + 1]) + 1, int(rows[at]) + 1, str(mine[at + 1]).removesuffix(".000000")
    what = "stands there as well" if mine[at] == mine[at + 1] else f"is later, {str(mine[at])[:19]}"
    mend = "" if series else "; a column that says which series a row is of is named to the task: series=COLUMN"
    raise UsageError(f"{data.name} row {row}: column {when} is {said}, and in row {before} {what}{mend}")


def _even(name: str, values: np.ndarray, times: np.ndarray, step: Step | None) -> Strand:
    """The series with the rows that are missing put in, where they are few and all rows lie on the line."""
    places = step.places(times) if step is not None else None
    if step is None or places is None:
        usual = 0.0 if step is None else step.seconds
        off = abs(np.diff(times).astype("m8[us]").astype(np.float64) / 1e6 - usual)
        return Strand(name, values, times, uneven=int((off > 0.1 * usual).sum()))
    steps = np.diff(places)
    added = int((steps - 1).sum())
    if (steps < 1).any() or added > FEW * len(values):
        return Strand(name, values, times, uneven=int((steps != 1).sum()))
    if not added:
        return Strand(name, values, times)
    whole = np.full((int(places[-1]) + 1, values.shape[1]), np.nan)
    whole[places] = values
    when = np.concatenate([times[:1], step.after(times[0], len(whole) - 1)])
    when[places] = times
    return Strand(name, whole, when, added)
