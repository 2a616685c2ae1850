"""A new table as a trained model reads it: its columns by name, each as it was where the model trained."""

from collections.abc import Sequence

import numpy as np

from blockyard.core.errors import UsageError, brief
from blockyard.data.table import Table, numbers
from blockyard.data.times import either, times
from blockyard.task._answer import spelt
from blockyard.task._cells import DAY, lacking, plain
from blockyard.task._predicts import Predicts
from blockyard.task._unseen import listed

FAR = 20  # deviations of the rows that trained
WANTED = {
    "numbers": ("numbers", "write a number, or leave the cell empty"),
    "flags": ("0 and 1", "write one of them, or leave the cell empty"),
    "times": ("times", "write a time as 2020-01-31 or 2020-01-31 12:00, or leave the cell empty"),
}


def fitting(table: Table, kept: Predicts) -> tuple[np.ndarray, list[str]]:
    """(n,C) float32 of the cells that the model reads, and what must be said; refused: a table that does not fit."""
    absent = [each.name for each in kept.columns if each.name not in table.columns]
    if absent:
        there = brief(", ".join(table.columns))
        raise UsageError(
            f"{table.name} has no column {brief(', '.join(absent))}, which the model reads; it has {there}\n"
            "a column with empty cells stands for one that is not known"
        )
    notes, cells = list(table.notes), list[np.ndarray]()
    new, empty, far = list[str](), list[str](), list[str]()
    for each in kept.columns:
        values = as_kept(table, each.name, each.kind)
        if each.kind == "times" and (written := _written(table, each.name)) and either(written):
            notes.append(
                f"{table.name}: {written[0]} in column {each.name} can be two days; the month is taken to stand first: "
                "write the year first"
            )
        read = each.column.cells(values)
        cells.append(read)
        lacks = lacking(values)
        if lacks.any() and not each.lacked:
            empty.append(f"{each.name} ({_rows(int(lacks.sum()))})")
        if each.words and (read == 0).any():
            words = dict.fromkeys(str(word) for word in values[read == 0])
            new.append(f"{each.name} ({listed(words)}; {_rows(int((read == 0).sum()))})")
        if not each.words and (away := np.nan_to_num(abs(read))).max(initial=0) > FAR:
            at = int(away.argmax())
            far.append(
                f"{each.name} of row {at + 1} is {away[at]:.3g} deviations from its mean where the model trained"
            )
    if new:
        notes.append(f"{table.name}: words that the model does not know, read as such: {_few(new)}")
    if empty:
        notes.append(f"{table.name}: empty cells in columns that had none where the model trained: {_few(empty)}")
    if far:
        notes.append(f"{table.name}: column {_few(far)}; is it in the same unit?")
    known = {kept.target, *(each.name for each in kept.columns)}
    more = [name for name in table.columns if name not in known]
    if more:
        notes.append(f"{table.name}: columns that the model does not read: {brief(', '.join(more))}")
    return np.stack(cells, 1), notes


def as_kept(table: Table, name: str, kind: str) -> np.ndarray:
    """A column of a table as cells of this kind: floats with NaN, or words with None; refused: other cells."""
    values = table.columns[name]
    if kind == "words":
        return values if values.dtype.kind == "O" else _words(values)
    if kind == "times" and values.dtype.kind == "O":
        found = times(["" if cell is None else cell for cell in values])
        if found is None:
            raise _odd(table, name, kind)
        return plain(found)
    if not lacking(plain(values)).all() and values.dtype.kind != ("M" if kind == "times" else "f"):
        raise _odd(table, name, kind)
    if kind == "flags":
        return _words(values)
    if kind == "times":
        return plain(values) if values.dtype.kind == "M" else np.full(len(values), np.nan)
    return values if values.dtype.kind == "f" else np.full(len(values), np.nan)


def word_columns(kept: Predicts) -> list[str]:
    """The columns that are wanted as they are written: words that look like numbers (007), and times."""
    return [name for name, kind in _kinds(kept).items() if kind in ("words", "times")]


def _kinds(kept: Predicts) -> dict[str, str]:
    return {each.name: each.kind for each in kept.columns} | {kept.target: kept.kind}


def truth(table: Table, kept: Predicts) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """(m,) which rows hold an answer that the model knows, (m,...) these answers, and what must be said."""
    if kept.target not in table.columns:
        return np.zeros(0, np.int64), np.zeros(0), []
    values = as_kept(table, kept.target, kept.kind)
    rows = np.flatnonzero(~lacking(values))
    if not kept.classes:
        return rows, kept.answer.targets(values[rows]), []
    known = [i for i in rows.tolist() if spelt(values[i]) in kept.classes]
    new = dict.fromkeys(spelt(values[i]) for i in rows.tolist() if spelt(values[i]) not in kept.classes)
    notes = []
    if new:
        count = len(rows) - len(known)
        said = f"{count:,} rows hold a {kept.target} that the model does not know ({listed(new)})"
        notes = [f"{table.name}: {said}: they are no part of the figures"]
    found = np.array(known, np.int64)
    return found, kept.answer.targets(values[found]), notes


def in_units(values: np.ndarray, kept: Predicts) -> list[str]:
    """Numbers (n,) that the model says, as the file would have them: times as days where they are days."""
    plainly = values.astype(np.float64) * kept.scale + kept.mean
    if kept.kind != "times":
        return [f"{each:.8g}" for each in plainly]
    seconds = np.round(plainly * (DAY / np.timedelta64(1, "s"))).astype(np.int64)
    return [str(each).replace("T", " ") for each in np.datetime64(0, "s") + seconds * np.timedelta64(1, "s")]


def trained_it(table: Table, kept: Predicts) -> bool:
    """Whether this is the table that the model was trained on."""
    columns = dict(table.columns)
    for name, kind in _kinds(kept).items():
        if kind == "times" and columns.get(name, np.zeros(0)).dtype.kind == "O":
            found = times(["" if cell is None else cell for cell in columns[name]])
            columns |= {} if found is None else {name: found}
    return Table.of(table.name, columns).hash == kept.data


def _written(table: Table, name: str) -> list[str]:
    """The cells of a column as they are written; none where a file keeps them otherwise."""
    values = table.columns[name]
    return [cell for cell in values if cell is not None] if values.dtype.kind == "O" else []


def _words(values: np.ndarray) -> np.ndarray:
    """Numbers or times as words; nothing where a cell is empty."""
    found = np.full(len(values), None, object)
    for i in np.flatnonzero(~lacking(plain(values))).tolist():
        found[i] = spelt(float(values[i])) if values.dtype.kind == "f" else str(values[i])
    return found


def _odd(table: Table, name: str, kind: str) -> UsageError:
    """The error for a column of another kind, with the first cell that shows it."""
    values, (wanted, mend) = table.columns[name], WANTED[kind]
    cells = [None if lacks else str(each) for each, lacks in zip(values, lacking(plain(values)))]
    at = next((i for i, cell in enumerate(cells) if cell is not None and not _fits(cell, kind)), 0)
    return UsageError(
        f"{table.name} row {at + 1}: column {brief(name)} holds {brief(repr(cells[at]))}, and the model was trained on "
        f"{wanted} there; {mend}"
    )


def _fits(cell: str, kind: str) -> bool:
    if kind == "times":
        return times([cell]) is not None
    return numbers([cell]) is not None


def _rows(count: int) -> str:
    return f"{count:,} row{'s'[: count != 1]}"


def _few(words: Sequence[str], most: int = 3) -> str:
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")
