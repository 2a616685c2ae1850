"""Tables: .csv and .tsv, packed or not, and for a task that asks for a table .parquet, .jsonl and text of any name.

The separator (comma, semicolon, tab or bar) is the one that cuts the first lines alike. The first row names the
columns, unless it holds values. A file is read in pieces, and anew where a column turns out to be of another kind than
it began as.

Source   none    Family  table
Differs  nothing known
"""

import csv
import itertools
import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from blockyard.core.errors import UsageError, brief, missing
from blockyard.data.formats import ROWS, bare, extra, json_rows, opened
from blockyard.data.table import Table as Columns
from blockyard.data.table import kinds, words
from blockyard.data.twofold import twofold
from blockyard.source._base import Source

SEPARATORS = ",;\t|"
SAMPLE, PIECE = 50, 1 << 16  # rows
FIELD, WIDE = 1 << 24, 1 << 16  # characters of a cell, and cells of a row

Row = tuple[int, Sequence[str]]  # its line, and its cells


class Table(Source):
    gives = "table"
    endings = (".csv", ".tsv")
    asked = True

    def read(self, paths: Sequence[str], **how: Any) -> Columns:
        if len(paths) != 1:
            raise UsageError(f"a table is one file, and {len(paths)} are named: {', '.join(paths[:4])}")
        path, kept = paths[0], frozenset(how.get("words") or ())  # columns of words, whatever they look like
        if os.path.isdir(path):
            raise UsageError(f"{path} is a folder, and a table is one file: name the file")
        if not os.path.exists(path):
            raise missing(Path(path))
        name, notes = os.path.basename(path), list[str]()
        if bare(path).endswith(".parquet"):
            columns = _parquet(path, name, notes)
        elif bare(path).endswith(ROWS):
            columns = _typed(name, *_objects(path, name), "", kept, notes)
        else:
            columns = _delimited(path, name, notes, kept)
        return Columns.of(name, columns, notes)


class _Rows:
    """Rows of cells that can be read again and again."""

    def __init__(self, make: Any) -> None:
        self.make = make

    def __iter__(self) -> Iterator[Row]:
        return self.make()


def _delimited(path: str, name: str, notes: list[str], kept: Collection[str] = ()) -> dict[str, np.ndarray]:
    csv.field_size_limit(FIELD)
    with opened(path) as file:
        head = list(itertools.islice((line for line in file if line.strip()), SAMPLE))
    if not head:
        raise UsageError(f"{name} is empty; name a file with a table in it")
    _refuse_wide(name, max(head[0].count(mark) for mark in SEPARATORS) + 1)
    if any("\0" in line for line in head):
        raise UsageError(f"{name} is binary (a NUL byte); name a table of text, or .parquet by its ending")
    separator = "\t" if bare(path).endswith(".tsv") else _separator(head)
    first = next(csv.reader(head, delimiter=separator))
    names, has_header = [cell.strip() for cell in first], not _values(first, separator)
    if not has_header:
        names = [str(i + 1) for i in range(len(first))]
        notes.append(f"{name} has no row of names: its columns are called 1 to {len(first)}")

    def rows() -> Iterator[Row]:
        with opened(path) as file:
            reader = csv.reader(file, delimiter=separator)
            found = ((reader.line_num, row) for row in reader if row)
            yield from itertools.islice(found, int(has_header), None)

    return _typed(name, names, _Rows(rows), separator, kept, notes)


def _refuse_wide(name: str, columns: int) -> None:
    if columns > WIDE:
        raise UsageError(f"{name} has {columns:,} columns, and {WIDE:,} are the most that are read; turn it round?")


def _separator(head: Sequence[str]) -> str:
    """The mark that cuts most of these lines into as many cells as it cuts the first, in the most cells."""
    best, score = ",", (0.0, 1)
    for mark in SEPARATORS:
        counts = [len(row) for row in csv.reader(head, delimiter=mark)]
        alike = sum(count == counts[0] for count in counts) / len(counts)
        if counts[0] > 1 and (round(alike, 1), counts[0]) > score:
            best, score = mark, (round(alike, 1), counts[0])
    return best


def _values(row: Sequence[str], separator: str) -> bool:
    """Whether a first row holds values rather than names: all of its cells are numbers or times, or empty."""
    narrow = kinds(separator)[:-1]
    return any(row) and all(any(kind([cell]) is not None for kind in narrow) for cell in row)


def _objects(path: str, name: str) -> tuple[list[str], _Rows]:
    """The columns and rows of JSON objects, a line each."""
    names: dict[str, None] = {}
    for _, row in json_rows(path, name):
        names |= dict.fromkeys(row)
    if not names:
        raise UsageError(f"{name} is empty; name a file with a table in it")

    def cell(number: int, column: str, value: Any) -> str:
        if isinstance(value, dict | list):
            raise UsageError(f"{name} line {number}: column {column!r} holds a {type(value).__name__}, not a cell")
        return "" if value is None else value if isinstance(value, str) else str(value)

    def rows() -> Iterator[Row]:
        for number, row in json_rows(path, name):
            yield number, [cell(number, column, row.get(column)) for column in names]

    return list(names), _Rows(rows)


def _typed(
    name: str, names: Sequence[str], rows: _Rows, separator: str, kept: Collection[str], notes: list[str]
) -> dict[str, np.ndarray]:  # fmt: skip
    """The columns as numbers, times or words, those of `kept` as words. Where a cell is none of what its column began
    as, reading begins anew. What can be read in two ways is told in `notes`."""
    names = [each or f"column {i}" for i, each in enumerate(names, 1)]
    first: dict[str, int] = {}
    for i, each in enumerate(names, 1):
        if first.setdefault(each, i) != i:
            raise UsageError(f"{name}: columns {first[each]} and {i} are both called {brief(each)}")
    _refuse_wide(name, len(names))
    ways = kinds(separator)
    chosen = [len(ways) - 1 if each in kept else 0 for each in names]
    pieces: list[list[np.ndarray]] = []
    shown: list[tuple[str, ...]] = []
    while not pieces:
        for lines, piece in _pieces(name, len(names), rows):
            found = [ways[way](cells) for way, cells in zip(chosen, piece)]
            if any(cells is None for cells in found):
                again = bool(pieces)
                for i, cells in enumerate(piece):
                    while found[i] is None:
                        chosen[i] += 1
                        found[i] = ways[chosen[i]](cells)
                if again:
                    pieces.clear()
                    break
            whole = [cells for cells in found if cells is not None]
            _refuse_infinite(name, names, lines, whole, piece)
            shown = piece if not pieces else shown
            pieces.append(whole)
        else:
            if not pieces:
                raise UsageError(f"{name} has nothing but a row of names: {', '.join(names[:4])}"[:200])
    columns = {each: np.concatenate(cells) for each, cells in zip(names, zip(*pieces))}
    notes += twofold(name, columns, shown)
    return columns


def _refuse_infinite(
    name: str, names: Sequence[str], lines: Sequence[int], found: Sequence[np.ndarray], piece: Sequence[Sequence[str]]
) -> None:
    """Refuse numbers that are infinite, as such or because they are too large for a number."""
    for each, cells, said in zip(names, found, piece):
        if cells.dtype.kind == "f" and (wrong := np.isinf(cells)).any():
            at = int(wrong.argmax())
            what = f"column {brief(each)} holds {brief(said[at].strip())}, which is infinite"
            raise UsageError(f"{name} line {lines[at]}: {what}; leave a cell empty that is not known")


def _pieces(name: str, width: int, rows: _Rows) -> Iterator[tuple[list[int], list[tuple[str, ...]]]]:
    """Rows in pieces: the line of each, and the columns of cells."""
    lines, piece = list[int](), list[Sequence[str]]()
    for number, row in rows:
        if len(row) != width:
            cells = f"{len(row)} cell{'s'[: len(row) != 1]}"
            raise UsageError(f"{name} line {number} has {cells}, and the first row has {width}")
        lines.append(number)
        piece.append(row)
        if len(piece) == PIECE:
            yield lines, list(zip(*piece))
            lines, piece = [], []
    if piece:
        yield lines, list(zip(*piece))


def _parquet(path: str, name: str, notes: list[str]) -> dict[str, np.ndarray]:
    library = extra("pyarrow.parquet", "parquet is read")
    types = extra("pyarrow.types", "parquet is read")
    try:
        table = library.read_table(path)
    except (OSError, ValueError) as error:  # every error of that library is one of these
        raise UsageError(f"{name} is damaged, it cannot be read as parquet: {error}") from None
    columns, left = dict[str, np.ndarray](), list[str]()
    _refuse_wide(name, len(table.column_names))
    for each, column in zip(table.column_names, table.columns):
        if types.is_timestamp(column.type) or types.is_date(column.type):  # what has a zone is told in UTC
            columns[each] = np.array(column.cast("timestamp[us]", safe=False).to_numpy(), "M8[us]")
        elif types.is_integer(column.type) or types.is_floating(column.type) or types.is_decimal(column.type):
            columns[each] = np.array([np.nan if cell is None else float(cell) for cell in column.to_pylist()])
            if (wrong := np.isinf(columns[each])).any():
                where = f"{name} row {int(wrong.argmax()) + 1}: column {brief(each)}"
                raise UsageError(f"{where} holds a number that is infinite; leave a cell empty that is not known")
        elif types.is_nested(column.type) or types.is_binary(column.type):
            left.append(each)
        else:
            columns[each] = words(["" if cell is None else str(cell) for cell in column.to_pylist()])
    if left:
        notes.append(f"{name}: left out {', '.join(left[:6])}, whose cells are no numbers, words or times")
    if not columns or not table.num_rows:
        raise UsageError(f"{name} is empty; name a file with a table in it")
    return columns
