"""Re-test a published claim at a small scale, or `status`: what the studies said."""

import argparse
from collections.abc import Callable
from typing import Any

from blockyard.cli._grammar import Answer

EXAMPLE = "blockyard study deltanet --tier smoke"


def options(add: Callable[..., Any]) -> None:
    add("name", help="a study (see: blockyard list study), or status")
    add("--tier", default="small", help="smoke: it runs, in seconds; small (default): it tells")
    add("--out", default="results", help="the folder of the records (default results)")


def run(options: argparse.Namespace) -> Answer:
    from blockyard.study import run_study, status

    if options.name == "status":
        rows = status(options.out)
        return rows, "\n".join(line for row in rows for line in _findings(row))
    record = run_study(options.name, options.tier, options.out)
    return record, "\n".join(_findings(record))


def _findings(record: dict[str, Any]) -> list[str]:
    lines = [f"{record['study']}: {record['verdict']} ({record['tier']}, {record['seeds']} seeds, {record['date']})"]
    for p in record["predictions"]:
        value = "-" if p["value"] is None else f"{p['value']:.4g}"
        lines.append(f"  {p['verdict']:14} {p['text']} (value {value}, threshold {p['threshold']:.4g})")
    return lines
