"""What the tests cost and what they notice: docs/tests.md, made from the figures that are kept beside the tests.

python -m tests.budget                 write the page from tests/costs.csv and tests/mutations.csv
python -m tests.budget --run [--all]   measure first: all tests that are not slow, or all, by tests/clock.py
"""

import argparse
import csv
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from blockyard.catalogue.index import systems
from tests.clock import FIELDS
from tests.mutate import ROOT, read_figures

COSTS, PAGE = ROOT / "tests" / "costs.csv", ROOT / "docs" / "tests.md"
CORES, OWN_SECONDS = 2, 3
OWN = "tests/systems"  # a file for each system: what must hold of it


class Cost(NamedTuple):
    """A row of costs.csv: the cases of a test and their CPU-seconds, of `make test` and of what only comes after."""

    file: str
    test: str
    per: str
    names: int
    fast: int
    fast_seconds: float
    slow: int
    slow_seconds: float


Seconds = Callable[[Cost], float]


def _fast(cost: Cost) -> float:
    return cost.fast_seconds


def _every(cost: Cost) -> float:
    return cost.fast_seconds + cost.slow_seconds


RUNS: list[tuple[str, float, Seconds]] = [("`make test`", 15, _fast), ("`make test-all`", 60, _every)]


def _files(costs: list[Cost]) -> list[str]:
    """The files of tests that systems have."""
    return sorted({cost.file for cost in costs if str(Path(cost.file).parent) == OWN})


def read_costs(path: Path = COSTS) -> list[Cost]:
    with open(path, encoding="utf-8", newline="") as file:
        rows = [[row[field] for field in FIELDS] for row in csv.DictReader(file)]
    return [
        Cost(*words[:3], *(kind(word or 0) for kind, word in zip((int, int, float, int, float), words[3:])))
        for words in rows
    ]


def write_costs(costs: Iterable[Cost], path: Path = COSTS) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(FIELDS)
        out.writerows([word or "" for word in cost] for cost in costs)


def measure(every: bool) -> None:
    """Run the tests and keep what they cost; what a quick run leaves out has the cost that it had."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "costs.csv"
        words = [] if every else ["-m", "not slow"]
        command = [sys.executable, "-m", "pytest", "-n", str(CORES), "-p", "tests.clock", f"--clock={path}", *words]
        subprocess.run(command, cwd=ROOT)
        found = read_costs(path)
    if not every and COSTS.exists():
        found = with_slow_of(read_costs(), found)
    write_costs(sorted(found))


def with_slow_of(old: list[Cost], new: list[Cost]) -> list[Cost]:
    """The new costs, with those of slow tests from an earlier run, of files that are still there."""
    slow, files = {cost[:2]: cost for cost in old if cost.slow}, {cost.file for cost in new}
    plain = {cost[:2]: cost for cost in new}
    for key, cost in slow.items():
        if cost.file in files:
            base = plain.get(key, cost._replace(fast=0, fast_seconds=0.0))
            plain[key] = base._replace(slow=cost.slow, slow_seconds=cost.slow_seconds)
    return list(plain.values())


def counts(costs: list[Cost]) -> dict[str, int]:
    """How many there were of what newcomers add to."""
    names = {cost.per: cost.names for cost in sorted(costs, key=lambda cost: cost.names) if cost.per}
    return names | {OWN: len(_files(costs))}


def newcomers(costs: list[Cost], seconds: Seconds) -> dict[str, float]:
    """CPU-seconds that one more of each costs: what the suites of all take, by their number."""
    return {
        kind: sum(seconds(cost) for cost in costs if kind in (cost.per, str(Path(cost.file).parent))) / max(1, number)
        for kind, number in counts(costs).items()
    }


def at_full_size(costs: list[Cost], seconds: Seconds) -> float:
    """CPU-seconds when every system of the catalogue has a recipe, a study, a file of tests and one new part."""
    one, now, all_systems = newcomers(costs, seconds), counts(costs), len(systems())
    more = {kind: all_systems - now[kind] for kind in ("recipe", "study", OWN)}
    more["part"] = more["recipe"]
    return sum(map(seconds, costs)) + sum(one[kind] * number for kind, number in more.items())


def page(costs: list[Cost], figures: list[dict[str, Any]]) -> str:
    """docs/tests.md."""
    lines = [
        "# The tests",
        "",
        "`make budget` measures what the tests cost and writes this page; `python -m tests.mutate FILE --keep` tries",
        "small changes of a file and keeps how many the tests notice. Costs are CPU-seconds of one core.",
        "",
        "## Against the budget",
        "",
        f"With all systems: each of the {len(systems())} in the catalogue has a recipe, a study, a file of tests and",
        "one new part, which cost what those of today cost.",
        "",
        *_table(f"run | CPU-seconds | minutes on {CORES} cores | budget | with all systems", _against(costs)),
        "",
        "## By suite",
        "",
        *_table("suite | tests | in `make test` | slow tests | only in `make test-all`", _suites(costs)),
        "",
        "## What a newcomer costs",
        "",
        "The suites that run once for each name, by the number of names. A recipe that brings no new part is left to",
        "`make test-all` by most of them.",
        "",
        *_table("one more | today | CPU-seconds in `make test` | in `make test-all`", _newcomers(costs)),
        "",
        f"The tests of one system may take {OWN_SECONDS} CPU-seconds of `make test`:",
        "",
        *_table("file | tests | in `make test` | only in `make test-all`", _own(costs)),
        "",
        "## The slowest ten of `make test`",
        "",
        *_table("test | cases | CPU-seconds", _slowest(costs)),
        "",
        "## What the tests notice",
        "",
        "Each file was changed in one small way at a time; noticed are the changes that made one of its tests fail. Of",
        "the others some mean the same, as somebody judged; for the rest a test is missing.",
        "",
        *_table(
            "room | files | changes tried | noticed | mean the same | share noticed of the others", _rooms(figures)
        ),
        "",
        *_table("file | line | unnoticed", _noticed(figures)),
    ]
    return "\n".join(lines) + "\n"


def _table(head: str, rows: Iterable[Iterable[Any]]) -> list[str]:
    wide = head.count("|") + 1
    told = [" | ".join(f"{word:.1f}" if isinstance(word, float) else str(word) for word in row) for row in rows]
    return [f"| {head} |", "|" + " --- |" * wide, *(f"| {line} |" for line in told)]


def _against(costs: list[Cost]) -> Iterable[Iterable[Any]]:
    for name, minutes, seconds in RUNS:
        now, then = (total / CORES / 60 for total in (sum(map(seconds, costs)), at_full_size(costs, seconds)))
        unknown = seconds is _every and not any(cost.slow for cost in costs)
        figures = ("not measured yet",) * 3 if unknown else (now * CORES * 60, now, f"{then:.1f} minutes")
        yield name, *figures[:2], f"{minutes} minutes", figures[2]


def _suites(costs: list[Cost]) -> Iterable[Iterable[Any]]:
    groups: dict[str, list[Cost]] = {}
    for cost in costs:
        groups.setdefault(str(Path(cost.file).parent) if cost.test else "imports, collection", []).append(cost)
    for name, of in sorted(groups.items(), key=lambda item: -sum(c.fast_seconds for c in item[1])):
        yield name, sum(c.fast for c in of), _sum(of, "fast"), sum(c.slow for c in of), _sum(of, "slow")


def _newcomers(costs: list[Cost]) -> Iterable[Iterable[Any]]:
    fast, every, number = newcomers(costs, _fast), newcomers(costs, _every), counts(costs)
    for kind in sorted(fast, key=lambda kind: -every[kind]):
        yield "file of a system's tests" if kind == OWN else kind, number[kind], fast[kind], every[kind]


def _own(costs: list[Cost]) -> Iterable[Iterable[Any]]:
    for file in _files(costs):
        of = [cost for cost in costs if cost.file == file]
        yield f"`{Path(file).name}`", sum(c.fast + c.slow for c in of), _sum(of, "fast"), _sum(of, "slow")


def _slowest(costs: list[Cost]) -> Iterable[Iterable[Any]]:
    for cost in sorted(costs, key=lambda c: -c.fast_seconds if c.test else 0.0)[:10]:
        yield f"`{cost.file}::{cost.test}`", cost.fast, cost.fast_seconds


def _rooms(figures: list[dict[str, Any]]) -> Iterable[Iterable[Any]]:
    rooms: dict[str, list[dict[str, Any]]] = {}
    for row in figures:
        rooms.setdefault(row["file"].split("/")[1], []).append(row)
    for room, rows in rooms.items():
        tried, noticed = (sum(int(row[key]) for row in rows) for key in ("tried", "noticed"))
        same = sum(len(_list(row["same"])) for row in rows)
        yield room, len(rows), tried, noticed, same, f"{noticed / (tried - same):.0%}"


def _noticed(figures: list[dict[str, Any]]) -> Iterable[Iterable[Any]]:
    for row in figures:
        for text in _list(row["unnoticed"]):
            line, _, change = text.replace("|", "\\|").partition(": ")
            yield f"`{row['file'].partition('/')[2]}`", line, f"`{change}`"


def _list(cell: str) -> list[str]:
    return [text for text in cell.split("; ") if text]


def _sum(costs: list[Cost], which: str) -> float:
    return float(sum(getattr(cost, f"{which}_seconds") for cost in costs))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m tests.budget", description=__doc__.partition("\n")[0])
    parser.add_argument("--run", action="store_true", help="measure first: every test that is not slow")
    parser.add_argument("--all", action="store_true", help="with --run: the slow ones too")
    options = parser.parse_args(argv)
    if options.run:
        measure(options.all)
    PAGE.write_text(page(read_costs(), read_figures()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
