"""List the finished runs of a comparison, or of all in a database, trials of the tuning too."""

import argparse
from collections.abc import Callable
from typing import Any

from blockyard.cli._grammar import Answer

EXAMPLE = "blockyard runs blockyard-out/llama-gla --csv runs.csv"


def options(add: Callable[..., Any]) -> None:
    add("out", nargs="?", help="the folder of a comparison, finished or not")
    add("--index", metavar="URL", help="instead of a folder: the database that comparisons wrote to with --index")
    add("--csv", metavar="FILE", help="write them to this file too, a line each")


def run(options: argparse.Namespace) -> Answer:
    from pathlib import Path

    from blockyard.compare.kept import RUNS, as_csv, indexed, runs
    from blockyard.core.errors import UsageError
    from blockyard.core.files import write_whole

    if (options.out is None) == (options.index is None):
        raise UsageError("name the folder of a comparison, or a database with --index")
    found = runs(options.out) if options.index is None else indexed(options.index)
    if options.csv:
        path = Path(options.csv)
        if path.exists():
            raise UsageError(f"{path} exists; name a file that does not")
        write_whole(path, as_csv(found).encode())
    names = [*(found[0] if found else RUNS)]
    rows = [[_said(row[name]) for name in names] for row in found]
    widths = [max(map(len, column)) for column in zip(names, *rows)]
    lines = ["  ".join(f"{cell:{width}}" for cell, width in zip(row, widths)).rstrip() for row in (names, *rows)]
    return found, "\n".join(lines)


def _said(value: Any) -> str:
    """A cell: six digits of a number, a line for what is missing."""
    return "-" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
