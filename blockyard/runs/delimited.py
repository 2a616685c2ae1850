"""Tables of text with a line of names: CSV, TSV and their like, W&B's and MLflow's exports among them.

Differs  a chart that W&B exports has a column for every run, `adamw-seed0 - val_loss`, beside one of steps: it becomes
         a row for every run and step, with the columns run, Step and val_loss; the least and the largest of a point
         (`... - val_loss__MIN`) are left out
"""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from blockyard.core.errors import UsageError
from blockyard.runs._read import Placed, Row, text_of

FILES = "CSV files (.csv, .tsv, .txt)"
ENDS = (".csv", ".tsv", ".txt")
DELIMITERS = ",\t;|"


def known(path: Path) -> bool:
    """By the end of its name."""
    return path.suffix.lower() in ENDS and path.is_file()


def rows(path: Path) -> Placed:
    """A row for every line below the first."""
    text = text_of(path).lstrip()
    first = text.splitlines()[0]
    delimiter = max(DELIMITERS, key=first.count)
    if not first.count(delimiter):
        raise UsageError(f"{path} has one column, {first[:40]!r}; a table of runs has one of arms and one of scores")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        names = [name.strip() for name in next(reader)]
        content = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        raise UsageError(f"{path} cannot be read as a table: {error}") from None
    twice = {name for name in names if names.count(name) > 1 and name}
    if twice:
        raise UsageError(f"{path} has two columns called {min(twice)!r}; rename one")
    if not content:
        raise UsageError(f"{path} has a line of names and no rows")
    chart = _chart(names)
    for number, cells in content:
        if len(cells) > len(names):
            raise UsageError(f"{path}, line {number} has {len(cells)} values, the first line {len(names)} names")
        row = {name: number_of(cell) for name, cell in zip(names, cells) if name}
        for each in _unfolded(row, chart) if chart else (row,):
            yield f"{path}, line {number}", each


def number_of(cell: str) -> Any:
    """A cell as a number, as words, or as None where nothing stands in it."""
    cell = cell.strip()
    try:
        value = float(cell)
    except ValueError:
        return cell or None
    return int(cell) if cell.lstrip("+-").isdigit() and abs(value) < 2**53 else value


def _chart(names: list[str]) -> dict[str, tuple[str, str]]:
    """The run and the metric of every column of a chart that was exported; empty where this is none."""
    found = {name: name.rsplit(" - ", 1) for name in names if " - " in name}
    if not found or len(found) < len(names) - 1:
        return {}
    return {name: (run, metric) for name, (run, metric) in found.items() if not metric.endswith(("__MIN", "__MAX"))}


def _unfolded(row: Row, chart: dict[str, tuple[str, str]]) -> Iterator[Row]:
    common = {name: value for name, value in row.items() if " - " not in name}
    for name, (run, metric) in chart.items():
        if row.get(name) is not None and not metric.startswith("_"):
            yield {**common, "run": run, metric: row[name]}
