"""List the finished runs of a comparison, or of all in a database; of a folder of comparisons these, a line each."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from blockyard.cli._grammar import Answer

EXAMPLE = "blockyard runs blockyard-out/llama-gla --csv runs.csv"


def options(add: Callable[..., Any]) -> None:
    add("out", nargs="?", help="the folder of a comparison, finished or not; or one with several below it")
    add("--index", metavar="URL", help="instead of a folder: the database that comparisons wrote to with --index")
    add("--csv", metavar="FILE", help="write them to this file too, a line each")


def run(options: argparse.Namespace) -> Answer:
    from blockyard.compare.kept import LISTED, RUNS, indexed, listed, runs
    from blockyard.compare.report.rows import as_csv
    from blockyard.core.errors import UsageError
    from blockyard.core.files import write_whole

    if (options.out is None) == (options.index is None):
        raise UsageError("name the folder of a comparison, or a database with --index")
    if options.index is not None:
        found, names = indexed(options.index), ("comparison", *RUNS)
    elif not _is_comparison(Path(options.out)) and (several := listed(options.out)):
        found, names = several, LISTED
    else:
        found, names = runs(options.out), RUNS
    table = [{name: _joined(row[name]) for name in names} for row in found]
    if options.csv:
        path = Path(options.csv)
        if path.exists():
            raise UsageError(f"{path} exists; name a file that does not")
        write_whole(path, as_csv(table, names).encode())
    rows = [[_said(row[name]) for name in names] for row in table]
    widths = [max(map(len, column)) for column in zip(names, *rows)]
    lines = ["  ".join(f"{cell:{width}}" for cell, width in zip(row, widths)).rstrip() for row in (list(names), *rows)]
    return found, "\n".join(lines)


def _is_comparison(folder: Path) -> bool:
    """Whether the folder is that of one comparison, of one size or of several."""
    return any((folder / name).exists() for name in ("plan.json", "sizes.json"))


def _joined(value: Any) -> Any:
    """A cell of one value: names with commas."""
    return ", ".join(value) if isinstance(value, list) else value


def _said(value: Any) -> str:
    """A cell in words: six digits of a number, a line for what is missing."""
    return "-" if value in (None, "") else f"{value:.6g}" if isinstance(value, float) else str(value)
