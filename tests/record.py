"""Run the tests of the systems and write down what they said: `python -m tests.record [--all | SLUG...]`.

Without arguments the systems are run whose record is missing or stale. Each test file runs in a process of its own,
so that the parts, kernels and recipes it loaded are the sources of its record. The results go to
blockyard/catalogue/records.json, and docs/catalogue.md is written anew.

    must hold   tests/systems/test_<slug>.py
    oracle      the cases of tests/interop/test_oracles.py; the first word of a case is a recipe, whose header has
                the slug
    study       the latest record under results/
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import blockyard
from blockyard.catalogue import STATUSES, catalogue
from blockyard.catalogue.index import systems
from blockyard.catalogue.records import FORMAT, HERE, changed, fingerprint, read_records
from blockyard.core import registry
from blockyard.study import status

ROOT = Path(__file__).resolve().parent.parent
ORACLES = "tests/interop/test_oracles.py"
ROOMS = ("blockyard/parts", "blockyard/kernels", "blockyard/recipe", "blockyard/interop/hf")


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


def run_here(file: str, recipes: list[str]) -> dict[str, Any]:
    """Run one test file in this process: counts, and the hashes of what was loaded."""
    import pytest

    recorder = Recorder(recipes)
    pytest.main(["-p", "no:cacheprovider", str(ROOT / file)], [recorder])
    counts = {name: recorder.outcomes[name] for name in ("passed", "failed", "skipped")}
    return {"counts": counts, "sources": {path: fingerprint(ROOT / path) for path in _loaded(file)}}


def _loaded(file: str) -> list[str]:
    rooms = (*ROOMS, str(Path(file).parent.as_posix()))
    paths = {Path(m.__file__) for m in list(sys.modules.values()) if getattr(m, "__file__", None)}
    inside = {path.relative_to(ROOT).as_posix() for path in paths if path.is_relative_to(ROOT)}
    return sorted(path for path in inside if path.startswith(tuple(f"{room}/" for room in rooms)))


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


def record(slug: str) -> dict[str, Any]:
    """Run all that is known of a system."""
    file = test_file(slug)
    found = run_apart(file, [])
    sources, oracle = found["sources"], None
    recipes = [e.name for e in registry.entries("recipe").values() if e.header.get("Slug") == slug]
    oracles = run_apart(ORACLES, recipes) if recipes else None
    if oracles and any(oracles["counts"].values()):
        oracle, sources = oracles["counts"], sources | oracles["sources"]
    told = {"date": date.today().isoformat(), "version": blockyard.__version__, "file": file}
    return told | {"must_hold": found["counts"], "oracle": oracle, "sources": dict(sorted(sources.items()))}


def test_file(slug: str) -> str:
    return f"tests/systems/test_{slug.replace('-', '_')}.py"


def page(rows: list[dict[str, Any]]) -> str:
    """docs/catalogue.md: the rows of the catalogue by family."""
    count = Counter(row["status"] for row in rows)
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
    for family in dict.fromkeys(row["family"] for row in rows):
        lines += ["", f"## {family}", "", "| system | year | kind | recipe | tests | status |"]
        lines += ["| --- | --- | --- | --- | --- | --- |"]
        lines += [_line(row) for row in rows if row["family"] == family]
    return "\n".join(lines) + "\n"


MEANING = {
    "planned": "nothing is there yet",
    "draft": "a part or a recipe exists and builds",
    "checked": "every test of what must hold of it passed",
    "matched": "checked, and it agrees with an independent implementation",
    "raced": "checked, and a study of its claim has a verdict",
}


def _line(row: dict[str, Any]) -> str:
    tests, title = row["tests"], row["title"].replace("|", "\\|")
    said = (
        ""
        if tests is None or tests["date"] is None
        else f"{tests['must_hold']['passed']} of {sum(tests['must_hold'].values())}"
    )
    if said and tests["oracle"]:
        said += f", {tests['oracle']['passed']} of {sum(tests['oracle'].values())} against an oracle"
    recipe = f"`{row['recipe']}`" if row["recipe"] else ""
    return f"| **{row['slug']}**: {title} | {row['year']} | {row['kind']} | {recipe} | {said} | {_told(row)} |"


def _told(row: dict[str, Any]) -> str:
    """The status; of a raced system also what its study said."""
    if row["status"] != "raced":
        return row["status"]
    return (
        f"raced: its claim {row['study_verdict']}" if row["study_verdict"] != "inconclusive" else "raced: inconclusive"
    )


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
        print(f"{slug:28} {records[slug]['must_hold']} oracle {records[slug]['oracle']}", flush=True)
    raced = {row.slug: row for row in status(ROOT / "results")}
    for slug in known:
        row = raced.get(slug)
        records[slug]["study"] = row and {
            "name": row.study,
            **{key: getattr(row, key) for key in ("verdict", "tier", "date")},
        }
    data = {"format": FORMAT, "systems": {slug: records[slug] for slug in known}}
    (HERE / "records.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    (ROOT / "docs" / "catalogue.md").write_text(page(catalogue()), encoding="utf-8")
    return 1 if any(each["must_hold"]["failed"] for each in records.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
