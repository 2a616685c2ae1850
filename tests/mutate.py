"""Would the tests notice if this file were wrong? `python -m tests.mutate FILE... [--tests WORDS...]`.

A file is changed one small step at a time (tests/changes.py), and its tests are run against each change: a failure, a
crash and a hang all count as noticed. A change that none notices is printed: a test is missing, the line is not needed,
or it means the same.

    where       a copy of the tree in a temporary folder: whatever ends the run, the tree is as it was
    which       the same at every run with the same seed
    tests       those that belong to the file, see `belonging`; the quickest first, the slow ones never

With `--keep` the figures go to tests/mutations.csv, from which `python -m tests.budget` makes docs/tests.md.
"""

import argparse
import csv
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.changes import Change, chosen

ROOT = Path(__file__).resolve().parent.parent
FIGURES = ROOT / "tests" / "mutations.csv"
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "runs", "build", ".hypothesis", ".pytest_cache", ".ruff_cache")


def belonging(file: Path, root: Path = ROOT) -> list[str]:
    """The tests of a file, as words for pytest.

    Those of its room whose name has the file's; else, and for a part also, those of its room or the systems that import
    it or name it; else the whole room. A kernel has the name of its folder. A part is held to its claims too.
    """
    room, name, module = file.parts[1], file.stem.strip("_"), ".".join(file.with_suffix("").parts[-2:])
    if room == "kernels":
        name = file.parts[2]
    tests = [path for folder in (room, "systems") for path in sorted((root / "tests" / folder).glob("test_*.py"))]
    found = [path for path in tests if f"_{name}_" in f"{path.stem}_"]
    if not found or room == "parts":
        speaks = re.compile(rf"{re.escape(module)}\b|[\"':]{name}\b|\b{name}_scan\b")
        found += [path for path in tests if speaks.search(path.read_text(encoding="utf-8"))]
    if room == "parts":
        found.append(root / "tests" / "parts" / "test_claims.py")
    return sorted({path.relative_to(root).as_posix() for path in found}) or [f"tests/{room}"]


class Order:
    """A pytest plugin: what was quick runs first, and cases of other parts than the one that is changed do not run."""

    def __init__(self, file: Path, seconds: dict[str, float]) -> None:
        self.part = f"{file.parts[2]}:{file.stem}" if file.parts[1] == "parts" else ""
        self.known, self.seconds = dict(seconds), dict[str, float]()

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items[:] = [item for item in items if not self._is_another(item)]
        items.sort(key=lambda item: self.known.get(item.nodeid, 0.0))

    def _is_another(self, item: Any) -> bool:
        values = item.callspec.params.values() if hasattr(item, "callspec") else []
        names = [value for value in values if isinstance(value, str) and re.fullmatch(r"\w+:\w+", value)]
        return bool(self.part and names and self.part not in names)

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration


class Bench:
    """The copy of the tree, and runs of its tests in forks of this process: what all need is imported once."""

    def __init__(self, folder: Path, root: Path = ROOT, patience: float = 20.0) -> None:
        """`patience`: the seconds that a change has beyond three times what the tests took."""
        self.patience = patience
        self.root, self.tree, self.log, self.seconds = root, folder / "tree", folder / "log", folder / "seconds"
        shutil.copytree(root, self.tree, ignore=LEFT_OUT, symlinks=True)
        self.order: dict[str, float] = {}

    def run(self, file: Path, words: list[str], limit: float) -> bool:
        """Whether the tests pass."""
        self.seconds.unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            self._child(file, words)
        end = time.monotonic() + limit
        while time.monotonic() < end:
            if os.waitpid(child, os.WNOHANG)[0]:
                return self.seconds.exists()
            time.sleep(0.02)
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return False

    def _child(self, file: Path, words: list[str]) -> None:
        """Never returns; `seconds` is there afterwards if and only if all tests passed."""
        try:
            os.setsid()
            out = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(out, 1)
            os.dup2(out, 2)
            os.chdir(self.tree)
            signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background ignores it
            sys.path[:] = [str(self.tree), *(path for path in sys.path if Path(path).resolve() != self.root)]
            sys.dont_write_bytecode = True  # a change within a second and of the same size would not be seen
            os.environ |= {"PYTHONPATH": str(self.tree), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONSAFEPATH": "1"}
            for name in [name for name in sys.modules if name.partition(".")[0] in ("tests", "blockyard")]:
                del sys.modules[name]
            import pytest

            order = Order(file, self.order)
            plain = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", "not slow"]
            if pytest.main([*plain, *words], [order]) == 0:
                self.seconds.write_text(json.dumps(order.seconds))
        finally:
            os._exit(0)

    def survivors(self, file: Path, tried: list[Change], words: list[str]) -> list[Change]:
        """The changes that no test notices."""
        begun, self.order = time.monotonic(), {}
        if not self.run(file, words, 900):
            raise SystemExit(f"without any change the tests of {file} fail\n{self.log.read_text()[-2000:]}")
        self.order = json.loads(self.seconds.read_text())
        limit = self.patience + 3 * (time.monotonic() - begun)
        path, found = self.tree / file, []
        source = path.read_text(encoding="utf-8")
        for compiled in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
            compiled.unlink()
        for change in tried:
            path.write_text(change.apply(source), encoding="utf-8")
            if self.run(file, words, limit):
                found.append(change)
        path.write_text(source, encoding="utf-8")
        return found


def keep(file: Path, words: list[str], tried: list[Change], alive: list[Change]) -> None:
    """The row of this file in tests/mutations.csv, the others as they are."""
    rows = {row["file"]: row for row in read_figures()}
    same = _texts(rows.get(file.as_posix(), {}).get("same") or "")
    found: dict[bool, list[str]] = {True: [], False: []}
    for change in alive:
        found[str(change) in same].append(f"{change.line}: {change}")
    row = {"file": file.as_posix(), "tests": " ".join(words), "tried": len(tried), "noticed": len(tried) - len(alive)}
    rows[row["file"]] = row | {"same": "; ".join(found[True]), "unnoticed": "; ".join(found[False])}
    with open(FIGURES, "w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, ["file", "tests", "tried", "noticed", "same", "unnoticed"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(row for _, row in sorted(rows.items()))


def _texts(cell: str) -> set[str]:
    """The changes that a cell lists, without their lines."""
    return {text.partition(": ")[2] for text in cell.split("; ")}


def read_figures() -> list[dict[str, Any]]:
    """The kept rows. A person moves what means the same from `unnoticed` to `same`, where it is found next time."""
    if not FIGURES.exists():
        return []
    with open(FIGURES, encoding="utf-8", newline="") as rows:
        return list(csv.DictReader(rows))


def main(argv: list[str] | None = None) -> int:
    """Try the changes of every file; 1 where one was not noticed."""
    parser = argparse.ArgumentParser("python -m tests.mutate", description=__doc__.partition("\n")[0])
    parser.add_argument("file", nargs="+", type=Path)
    parser.add_argument("--tests", nargs=argparse.REMAINDER, help="words for pytest, such as tests/train -k cosine")
    parser.add_argument("--count", type=int, default=12, help="changes tried of each file (default 12)")
    parser.add_argument("--seed", type=int, default=0, help="another seed tries others")
    parser.add_argument("--keep", action="store_true", help="write the figures to tests/mutations.csv")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    options = parser.parse_args(argv)
    for file in options.file:
        if not file.is_file() or not file.resolve().is_relative_to(ROOT / "blockyard"):
            parser.error(f"{file} is no file below {ROOT / 'blockyard'}")
    for slow in ("torch", "scipy.stats", "numba", "pytest"):  # what is never changed, once and not in every fork
        import_module(slow)
    told, missed = [], 0
    with tempfile.TemporaryDirectory(prefix="blockyard-mutate-") as folder:
        bench = Bench(Path(folder))
        for file in options.file:
            file = file.resolve().relative_to(ROOT)
            words = options.tests or belonging(file, bench.tree)
            tried = chosen((bench.tree / file).read_text(encoding="utf-8"), options.count, f"{options.seed} {file}")
            alive = bench.survivors(file, tried, words)
            missed += len(alive)
            told.append({"file": str(file), "tried": len(tried), "unnoticed": [asdict(change) for change in alive]})
            if not options.json:
                print("".join(f"{file}:{change.line}: {change}\n" for change in alive), end="")
                print(f"{file}: {len(tried) - len(alive)} of {len(tried)} changes noticed", flush=True)
            if options.keep:
                keep(file, words, tried, alive)
    if options.json:
        print(json.dumps(told, indent=1))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
