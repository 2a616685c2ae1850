"""A pytest plugin that writes down what the tests cost: `pytest -p tests.clock --clock=costs.csv`.

The cost of a test is the CPU time of its process and of the children it waited for, so that a busy machine changes
little of it. Workers of xdist are summed. One row a test function:

    per, names               what its cases are one each of (recipe, part, task, ...), so that a newcomer adds one, and
                             how many there were
    fast, fast_seconds       its cases that `make test` runs, and their cost
    slow, slow_seconds       the same of those that only `make test-all` runs; empty where they were not run

and one row with an empty name for what starting costs: imports and collection, once a worker.
"""

import csv
import re
import resource
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from blockyard.core import registry

FIELDS = ("file", "test", "per", "names", "fast", "fast_seconds", "slow", "slow_seconds")


def families() -> dict[str, set[str]]:
    """The names that newcomers add to: those of recipes, tasks, studies, and of the parts of each kind."""
    return {kind: set(registry.entries(kind)) for kind in (*registry.ROOMS, *registry.KINDS)}


def per(words: set[str]) -> str:
    """What these words are the names of: the family they cover best, none where they name but a few, as examples do."""
    shares = {kind: len(names & words) / len(names) for kind, names in families().items() if len(names) > 2}
    best = max(shares, key=lambda kind: shares[kind])
    return "" if shares[best] < 0.5 else "part" if best in registry.KINDS else best


def how_many(what: str) -> int | str:
    """The names of a family."""
    names = families()
    names["part"] = {f"{kind}:{name}" for kind in registry.KINDS for name in names[kind]}
    return len(names[what]) if what else ""


def _spent() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


class Clock:
    """What is measured in every process, and summed in the one that hears of all tests."""

    def __init__(self, path: Path) -> None:
        self.path, self.mark, self.begun = path, 0.0, False
        self.words: defaultdict[str, set[str]] = defaultdict(set)
        self.costs: defaultdict[str, Counter[str]] = defaultdict(Counter)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Before any are left out: all cases of a test say what it is one each of."""
        for item in items:
            name, _, case = item.nodeid.partition("[")
            self.words[name] |= set(re.findall(r"\w+", case))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: Any):
        """The time until the first test is what starting costs."""
        now = _spent()
        item.started, self.begun = 0.0 if self.begun else now, True
        self.mark = now
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: Any, call: Any):
        """Facts that travel with the report from a worker."""
        report, now = (yield), _spent()
        report.cost, self.mark = now - self.mark, now
        report.started, item.started = item.started, 0.0
        report.speed = "slow" if item.get_closest_marker("slow") else "fast"
        report.family = per(self.words[item.nodeid.partition("[")[0]])
        return report

    def pytest_runtest_logreport(self, report: Any) -> None:
        of = self.costs[report.nodeid.partition("[")[0]]
        of[report.speed] += report.when == "setup"
        of[f"{report.speed}_seconds"] += report.cost
        of[f"per {report.family}"] += 1
        self.costs[""]["fast_seconds"] += report.started

    def pytest_sessionfinish(self, session: Any) -> None:
        if hasattr(session.config, "workerinput"):
            return
        with open(self.path, "w", encoding="utf-8", newline="") as file:
            out = csv.DictWriter(file, FIELDS, lineterminator="\n")
            out.writeheader()
            for name, of in sorted(self.costs.items()):
                path, _, test = name.partition("::")
                kind = next((key[4:] for key in of if key.startswith("per ")), "")
                row = {
                    "file": path,
                    "test": test,
                    "per": kind,
                    "names": how_many(kind),
                    "fast": of["fast"] or "",
                    "slow": of["slow"] or "",
                }
                row |= {f"{s}_seconds": f"{of[f'{s}_seconds']:.2f}" for s in ("fast", "slow") if of[f"{s}_seconds"]}
                out.writerow(row)


def pytest_addoption(parser: Any) -> None:
    parser.addoption("--clock", type=Path, help="write what the tests cost into this file")


def pytest_configure(config: Any) -> None:
    if config.getoption("--clock"):
        config.pluginmanager.register(Clock(config.getoption("--clock")), "clock")
