"""What of a table is asked and what is read: rows that have the target, columns that do not give it away."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from blockyard.core.errors import UsageError
from blockyard.data.table import Table
from blockyard.task._answer import Answer, Classes, Numbers, spelt
from blockyard.task._cells import Column, fitted, lacking, plain
from blockyard.task._doubts import doubts, odd_word
from blockyard.task._giveaway import gives_away
from blockyard.task._part import Parted, keys, parted
from blockyard.task._unseen import listed, unseen

FEW = 10  # different whole numbers that are taken as classes
MOST = 1000  # classes
WIDE = 4096  # columns
LEAST = 40  # rows


class Chosen(NamedTuple):
    """What a task reads of a table.

    cells     (n,C) float32 of the rows that have the target      targets   of these rows, as `answer` asks them
    columns   how they were read                                  beside    (n,) which rows only pretrain
    """

    cells: np.ndarray
    targets: np.ndarray
    columns: tuple[Column, ...]
    answer: Answer
    rows: dict[str, np.ndarray]
    notes: tuple[str, ...]


def chosen(
    data: Table, target: str, kind: str | None, dropped: Collection[str], kept: Collection[str], beside: str | None,
    most: int | None,
) -> Chosen:  # fmt: skip
    """The cells, the targets and the splits of a table; a `UsageError` says why there is nothing to ask."""
    names = [name for name in data.columns if name not in dropped and name != beside]
    if len(names) > WIDE:
        raise UsageError(f"{data.name} has {len(names):,} columns to read, and {WIDE:,} are the most")
    if kind != "classes" and (odd := odd_word(data, target)):
        raise UsageError(f"{odd}; write a number as 1234.5, leave the cell empty, or take words with kind=classes")
    asked, notes = _asked(data, target)
    values = data.columns[target][asked]
    values = plain(values) if values.dtype.kind == "M" else values
    answer, more = _answer(data.name, target, values, _kind(data, target, kind))
    notes += more
    targets = answer.targets(values)
    if not names:
        raise UsageError(f"{data.name}: no column is left to predict {target} from")
    columns = {name: plain(data.columns[name][asked]) for name in names}
    flat = targets if targets.dtype.kind == "i" else targets[:, 0].astype(np.float64)
    first = np.zeros(len(flat), bool)
    first[np.unique(keys([*columns.values(), flat.astype(np.float64)]), return_index=True)[1]] = True
    away = [name for name in names if gives_away(columns[name], flat, first)]
    for name in away:
        if name in kept:
            notes.append(f"{name} gives {target} away, and is read all the same")
        else:
            notes.append(f"{name} gives {target} away (the one follows from the other): left out; keep={name} reads it")
            del columns[name]
    if not columns:
        raise UsageError(f"{data.name}: no column is left to predict {target} from; {notes[-1]}")
    only = np.zeros(len(targets), bool) if beside is None else ~lacking(plain(data.columns[beside][asked]))
    rows, split = _rows([*columns.values(), plain(values)], only, data.name, target)
    rows["train"] = rows["train"][:most]
    if split.repeats:
        notes.append(
            f"{split.repeats:,} of {len(targets):,} rows repeat another one: "
            + ("each is drawn by itself, since most do" if split.alone else "equal rows stay on one side of the split")
        )
    read, left = _read(columns, np.concatenate([rows["train"], rows["beside"]]))
    notes += left
    if not read:
        raise UsageError(f"{data.name}: no column is left to predict {target} from; {left[0]}")
    notes += doubts(data, list(columns))
    scored = np.concatenate([rows["tune"], rows["test"]])
    notes += unseen(read, columns, np.concatenate([rows["train"], rows["beside"]]), scored)
    if isinstance(answer, Classes):
        notes += _never(answer, targets, rows["train"], scored)
    cells = np.stack([column.cells(columns[column.name]) for column in read], 1)
    if isinstance(answer, Numbers):
        answer = answer.scaled(values[rows["train"]])
        targets = answer.targets(values)
    return Chosen(cells, targets, tuple(read), answer, rows, (*data.notes, *notes))


def _asked(data: Table, target: str) -> tuple[np.ndarray, list[str]]:
    """(n,) which rows have the target."""
    asked = ~lacking(plain(data.columns[target]))
    if asked.sum() < LEAST:
        raise UsageError(
            f"{data.name} has {asked.sum()} rows with a cell in {target}: too few to train and to score on; "
            f"{LEAST} are the least"
        )
    if asked.all():
        return asked, []
    return asked, [f"{(~asked).sum():,} of {len(asked):,} rows have no {target}: they are left out"]


def _kind(data: Table, target: str, kind: str | None) -> str | None:
    """What is asked for; times are numbers, however few and whole their days are."""
    if data.columns[target].dtype.kind != "M":
        return kind
    if kind == "classes":
        raise UsageError(f"{data.name}: {target} holds times, and kind=classes asks for classes; write them as words")
    return "numbers"


def _answer(name: str, target: str, values: np.ndarray, kind: str | None) -> tuple[Answer, list[str]]:
    """What a target asks for, and what must be said of it."""
    different = list(dict.fromkeys(values))
    if len(different) < 2:
        raise UsageError(f"{name}: {target} is {spelt(different[0])} in every row, so there is nothing to predict")
    if values.dtype.kind == "O":
        if kind == "numbers":
            raise UsageError(
                f"{name}: {target} holds words such as {different[0]!r}, and kind=numbers asks for numbers"
            )
        return _classes(name, target, different, len(values)), []
    whole = all(float(each).is_integer() for each in different[: FEW + 1])
    if kind == "numbers" or (kind is None and not (whole and len(different) <= FEW)):
        return Numbers(target), []
    notes: list[str] = []
    if kind is None and set(different) != {0, 1}:
        notes = [f"{target} holds {len(different)} different whole numbers: classes; kind=numbers takes it as a number"]
    return _classes(name, target, sorted(different), len(values)), notes


def _classes(name: str, target: str, different: Sequence[object], rows: int) -> Classes:
    if len(different) > min(MOST, rows / 2):
        raise UsageError(
            f"{name}: {target} has {len(different):,} different cells in {rows:,} rows: too many for classes"
        )
    if isinstance(different[0], str):
        different = sorted(map(str, different))
    return Classes(tuple(map(spelt, different)))


def _never(answer: Classes, targets: np.ndarray, train: np.ndarray, scored: np.ndarray) -> list[str]:
    """What must be said of classes that are scored and never train."""
    new = np.setdiff1d(targets[scored], targets[train])
    if not len(new):
        return []
    count = int(np.isin(targets[scored], new).sum())
    names = listed([answer.names[each] for each in new.tolist()])
    return [f"classes that no row trains: {names}, in {count:,} scored rows: whoever is asked there is wrong"]


def _rows(
    columns: Sequence[np.ndarray], only: np.ndarray, name: str, target: str
) -> tuple[dict[str, np.ndarray], Parted]:  # fmt: skip
    """The rows of every split, and those that only pretrain."""
    scored = np.flatnonzero(~only)
    if len(scored) < LEAST:
        raise UsageError(f"{name}: {len(scored)} rows are left to train on and to score; {LEAST} are the least")
    split = parted([values[scored] for values in columns])
    rows = {role: scored[index] for role, index in split.rows.items()}
    empty = [role for role, index in rows.items() if not len(index)]
    if empty:
        raise UsageError(f"{name}: too few different rows to predict {target} in: none is left to {empty[0]}")
    return {**rows, "beside": np.flatnonzero(only)}, split


def _read(columns: dict[str, np.ndarray], train: np.ndarray) -> tuple[list[Column], list[str]]:
    """How the columns are read, and why some are not."""
    read: list[Column] = []
    left: dict[str, list[str]] = {}
    for name, values in columns.items():
        found = fitted(name, values[train])
        if isinstance(found, Column):
            read.append(found)
        else:
            left.setdefault(found, []).append(name)
    return read, [f"{', '.join(names)} {reason}: left out" for reason, names in left.items()]
