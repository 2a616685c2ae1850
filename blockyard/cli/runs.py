"""List the finished runs of a comparison, trials of the tuning too."""

import argparse
from collections.abc import Callable
from typing import Any

from blockyard.cli._grammar import Answer

EXAMPLE = "blockyard runs blockyard-out/llama-gla --csv runs.csv"


def options(add: Callable[..., Any]) -> None:
    add("out", help="the folder of a comparison, finished or not")
    add("--csv", metavar="FILE", help="write them to this file too, a line each")


def run(options: argparse.Namespace) -> Answer:
    from pathlib import Path

    from blockyard.compare.kept import RUNS, runs
    from blockyard.compare.report.rows import as_csv
    from blockyard.core.errors import UsageError
    from blockyard.core.files import write_whole

    found = runs(options.out)
    if options.csv:
        path = Path(options.csv)
        if path.exists():
            raise UsageError(f"{path} exists; name a file that does not")
        write_whole(path, as_csv(found, RUNS).encode())
    rows = [[_said(row[name]) for name in RUNS] for row in found]
    widths = [max(map(len, column)) for column in zip(RUNS, *rows)]
    lines = ["  ".join(f"{cell:{width}}" for cell, width in zip(row, widths)).rstrip() for row in (list(RUNS), *rows)]
    return found, "\n".join(lines)


def _said(value: Any) -> str:
    """A cell: six digits of a number, a line for what is missing."""
    return "-" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
