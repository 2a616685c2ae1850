"""Run the tests of the systems and write down what they said: `python -m tests.record [--all | SLUG...]`.

Without arguments the systems are run whose record is missing or stale. Each test file runs in a process of its own;
the files of the library that it calls a function of are the sources of its record. The results go to
blockyard/catalogue/records/, a file a system, and docs/catalogue.md and docs/surveys.md are written anew.

    must hold   tests/systems/test_<slug>.py
    oracle      the cases of tests/interop/test_oracles.py; the first word of a case is a recipe, whose header has
                the slug
    study       the latest record under results/
"""

import argparse
import inspect
import json
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

import blockyard
from blockyard.catalogue import STATUSES, catalogue
from blockyard.catalogue.index import Row, systems
from blockyard.catalogue.records import FOLDER, Counts, Record, Studied, changed, fingerprint, read_records
from blockyard.catalogue.survey import page as surveys_page
from blockyard.core import registry
from blockyard.study import status

ROOT = Path(__file__).resolve().parent.parent
ORACLES = "tests/interop/test_oracles.py"


class Recorder:
    """A pytest plugin that counts outcomes; with `recipes` it keeps the cases that begin with one of them."""

    def __init__(self, recipes: list[str]) -> None:
        self.recipes, self.outcomes = recipes, Counter()

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        if self.recipes:
            items[:] = [item for item in items if _case(item).partition(" ")[0] in self.recipes]

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" or report.outcome != "passed":
            self.outcomes["failed" if hasattr(report, "wasxfail") else report.outcome] += 1

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.outcomes["failed"] += 1


def _case(item: Any) -> str:
    return str(item.callspec.params.get("case", "")) if hasattr(item, "callspec") else ""


class Calls:
    """A pytest plugin that knows the files of which tests and their fixtures called a function.

    Bodies of modules and classes, and what these call, run when a file is read: that uses nothing of it.
    """

    def __init__(self) -> None:
        self.codes: set[Any] = set()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self) -> Iterator[None]:
        threading.setprofile(self._profile)
        sys.setprofile(self._profile)
        try:
            return (yield)
        finally:
            sys.setprofile(None)
            threading.setprofile(None)

    def _profile(self, frame: Any, event: str, arg: Any) -> None:
        if event == "call" and (frame.f_back is None or frame.f_back.f_code.co_name != "<module>"):
            self.codes.add(frame.f_code)

    @property
    def files(self) -> set[str]:
        return {code.co_filename for code in self.codes if code.co_flags & inspect.CO_OPTIMIZED}


def run_here(file: str, recipes: list[str]) -> dict[str, Any]:
    """Run one test file in this process: counts, and the hashes of what was called."""
    recorder, calls = Recorder(recipes), Calls()
    pytest.main(["-p", "no:cacheprovider", str(ROOT / file)], [recorder, calls])
    counts = {name: recorder.outcomes[name] for name in ("passed", "failed", "skipped")}
    return {"counts": counts, "sources": {path: fingerprint(ROOT / path) for path in _ours(calls.files, file)}}


def _ours(called: set[str], file: str) -> list[str]:
    """The test file and what is called of the library; of compiled loops also what they are made of."""
    found, due = set(), {Path(path) for path in called if Path(path).is_relative_to(ROOT / "blockyard")}
    loaded = {Path(m.__file__): m for m in list(sys.modules.values()) if getattr(m, "__file__", None)}
    while due:
        path = due.pop()
        found.add(path)
        if path.is_relative_to(ROOT / "blockyard" / "kernels") and path in loaded:
            made = {getattr(value, "__module__", None) for value in vars(loaded[path]).values()}
            names = [name for name in made if isinstance(name, str) and name.startswith("blockyard.kernels")]
            due |= {Path(sys.modules[name].__file__) for name in names if name in sys.modules} - found
    return sorted({Path(file).as_posix(), *(path.relative_to(ROOT).as_posix() for path in found)})


def run_apart(file: str, recipes: list[str]) -> dict[str, Any]:
    """The same in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        words = [sys.executable, "-m", "tests.record", "--answer", str(answer), "--file", file]
        done = subprocess.run([*words, *recipes], cwd=ROOT, capture_output=True, text=True)
        if not answer.exists():
            raise SystemExit(f"{file} could not be run\n{done.stdout}{done.stderr}")
        found = json.loads(answer.read_text())
    if found["counts"]["failed"]:
        print(done.stdout)
    return found


def record(slug: str) -> Record:
    """Run all that is known of a system."""
    file = test_file(slug)
    found = run_apart(file, [])
    sources, oracle = found["sources"], None
    recipes = [e.name for e in registry.entries("recipe").values() if e.header.get("Slug") == slug]
    oracles = run_apart(ORACLES, recipes) if recipes else None
    if oracles and any(oracles["counts"].values()):
        oracle, sources = Counts(**oracles["counts"]), sources | oracles["sources"]
    told = {"date": date.today().isoformat(), "version": blockyard.__version__, "must_hold": Counts(**found["counts"])}
    return Record(file, **told, oracle=oracle, sources=dict(sorted(sources.items())))


def test_file(slug: str) -> str:
    return f"tests/systems/test_{slug.replace('-', '_')}.py"


def page(rows: list[Row]) -> str:
    """docs/catalogue.md: the rows of the catalogue by family."""
    count = Counter(row.status for row in rows)
    lines = [
        "# The catalogue",
        "",
        f"{len(rows)} published systems. Their status is folded from the parts, recipes and test records that exist; "
        "nobody types it.",
        "",
        "| status | systems | what it means |",
        "| --- | --- | --- |",
        *(f"| {status} | {count[status]} | {MEANING[status]} |" for status in STATUSES),
        "",
        "`blockyard catalogue` prints the same list, `blockyard catalogue --json` as one JSON document.",
    ]
    for family in dict.fromkeys(row.family for row in rows):
        lines += ["", f"## {family}", "", "| system | year | kind | recipe | tests | status |"]
        lines += ["| --- | --- | --- | --- | --- | --- |"]
        lines += [_line(row) for row in rows if row.family == family]
    return "\n".join(lines) + "\n"


MEANING = {
    "planned": "nothing is there yet",
    "draft": "a part or a recipe exists and builds",
    "checked": "every test of what must hold of it passed",
    "matched": "checked, and it agrees with an independent implementation",
    "raced": "checked, and a study of its claim has a verdict",
}


def _line(row: Row) -> str:
    tests, title = row.tests, row.title.replace("|", "\\|")
    said = ""
    if tests is not None and tests.date is not None:
        said = f"{tests.must_hold.passed} of {tests.must_hold.total}"
        if tests.oracle:
            said += f", {tests.oracle.passed} of {tests.oracle.total} against an oracle"
    recipe = f"`{row.recipe}`" if row.recipe else ""
    return f"| **{row.slug}**: {title} | {row.year} | {row.kind} | {recipe} | {said} | {_told(row)} |"


def _told(row: Row) -> str:
    """The status; of a raced system also what its study said."""
    if row.status != "raced":
        return row.status
    return f"raced: its claim {row.study_verdict}" if row.study_verdict != "inconclusive" else "raced: inconclusive"


def main(argv: list[str] | None = None) -> int:
    """Record what is asked for; 1 where a test failed."""
    parser = argparse.ArgumentParser("python -m tests.record", description=__doc__.partition("\n")[0])
    parser.add_argument("slug", nargs="*", help="the systems to run (default: those with no record or a stale one)")
    parser.add_argument("--all", action="store_true", help="run all that have tests")
    parser.add_argument("--file", help=argparse.SUPPRESS)
    parser.add_argument("--answer", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.file:
        options.answer.write_text(json.dumps(run_here(options.file, options.slug)))
        return 0
    known = [line["slug"] for line in systems() if (ROOT / test_file(line["slug"])).exists()]
    records = {slug: value for slug, value in read_records().items() if slug in known}
    due = [slug for slug in known if slug not in records or changed(records[slug], ROOT)]
    for slug in known if options.all else options.slug or due:
        if slug not in known:
            parser.error(f"{slug} has no {test_file(slug)}")
        records[slug] = record(slug)
        print(f"{slug:28} {records[slug].must_hold} oracle {records[slug].oracle}", flush=True)
    raced = {row.slug: Studied(row.study, row.verdict, row.tier, row.date) for row in status(ROOT / "results")}
    FOLDER.mkdir(exist_ok=True)
    for slug in records:
        told = json.dumps(replace(records[slug], study=raced.get(slug)).to_json(), indent=1)
        (FOLDER / f"{slug}.json").write_text(told + "\n", encoding="utf-8")
    (ROOT / "docs" / "catalogue.md").write_text(page(catalogue()), encoding="utf-8")
    (ROOT / "docs" / "surveys.md").write_text(surveys_page(), encoding="utf-8")
    return 1 if any(each.must_hold.failed for each in records.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
