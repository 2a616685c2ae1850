"""Re-test a published claim at a small scale, or `status`: what the studies said."""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from blockyard.cli._grammar import Answer
from blockyard.core.document import Json

if TYPE_CHECKING:
    from blockyard.study._record import Record

EXAMPLE = "blockyard study deltanet --tier smoke"


def options(add: Callable[..., Any]) -> None:
    add("name", help="a study (see: blockyard list study), or status")
    add("--tier", default="small", help="smoke: it runs, in seconds; small (default): it tells")
    add("--out", default="results", help="the folder of the records (default results)")


def run(options: argparse.Namespace) -> Answer:
    from blockyard.study import changes, last_record, run_study, status

    if options.name == "status":
        records = status(options.out)
        lines = "\n".join(line for r in records for line in _findings(r))
        return [_told(r, "races", "readings") for r in records], lines
    before = last_record(options.name, options.out)
    record = run_study(options.name, options.tier, options.out)
    changed = [] if record.tier == "smoke" else changes(before, record)  # which tells nothing
    return _told(record), "\n".join([*_findings(record), *changed])


def _told(record: "Record", *without: str) -> Json:
    """What is printed: its format belongs to the file, with the checksum."""
    return {name: value for name, value in record.to_json().items() if name not in (*without, "format")}


def _findings(record: "Record") -> list[str]:
    lines = [f"{record.study}: {record.verdict} ({record.tier}, {record.seeds} seeds, {record.date})"]
    for p in record.predictions:
        value = "-" if p.value is None else f"{p.value:.4g}"
        lines.append(f"  {p.verdict:14} {p.text} (value {value}, threshold {p.threshold:.4g})")
    return lines
