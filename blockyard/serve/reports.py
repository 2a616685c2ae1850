"""What lies in a folder of comparisons, for who looks from a browser: a line for each, its runs, its page.

A page is opened by a link with a mark, the hash of its place under a secret of this process: a browser that follows a
link brings no key, and a place that was never listed has no link. Only files report.html in this folder are ever read.
"""

import hashlib
import hmac
import json
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from blockyard.compare.kept import line, runs
from blockyard.compare.run.store import read_plan
from blockyard.core.errors import UsageError
from blockyard.core.files import strict

PAGE, PLAN = "report.html", "plan.json"
DEEP, MOST, TAIL = 8, 1000, 1 << 16  # folders below one another, lines of a list, bytes of a log that are looked at
Json = dict[str, Any]


class Reports:
    """The comparisons and reports in a folder."""

    def __init__(self, folder: str | Path) -> None:
        self.root = Path(folder).resolve()
        if not self.root.is_dir():
            raise UsageError(f"--runs {folder} is no folder; name the one that comparisons wrote to")
        self._secret = secrets.token_bytes(32)
        self._known: dict[Path, tuple[list[int], Json]] = {}

    def listed(self) -> list[Json]:
        """Every comparison and every report by folder, what was written last first; one that is damaged says so."""
        found = [self._line(path) for path, _ in zip(self._folders(), range(MOST))]
        return sorted(found, key=lambda row: row["when"], reverse=True)

    def progress(self, name: str) -> Json | None:
        """A comparison with its runs, those that have ended and those under way; None where no such one is listed."""
        path = self._inside(name)
        if path is None or not (path / PLAN).is_file():
            return None
        plan = read_plan(path)
        assert plan is not None
        ended = runs(path)
        finals = [row for row in ended if row["role"] == "final"]
        return strict({
            **self._line(path), "runs": ended, "under_way": under_way(path), "done": len(finals),
            "all": len(plan.seeds) * len(plan.arms), "unit": plan.metric.unit, "better": plan.metric.better,
        })  # fmt: skip

    def link(self, name: str) -> str:
        """Where the page of a folder is opened."""
        return f"/ui/shown/{quote(name)}/{PAGE}?mark={self._mark(name)}"

    def page(self, name: str, mark: str) -> bytes | None:
        """The page of a folder for who brings its mark, and None for everybody else."""
        if not hmac.compare_digest(self._mark(name).encode(), mark.encode("utf-8", "replace")):
            return None
        path = self._inside(name)
        return None if path is None else self._read(path / PAGE)

    def _mark(self, name: str) -> str:
        return hmac.new(self._secret, name.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()[:32]

    def _inside(self, name: str) -> Path | None:
        """The folder of a name as it is listed; None where links or dots lead elsewhere."""
        try:
            path = (self.root / name).resolve()
            inside = path.is_relative_to(self.root) and path.is_dir()
        except (OSError, ValueError):
            return None
        return path if inside and self._name(path) == name else None

    def _read(self, page: Path) -> bytes | None:
        try:
            return None if page.is_symlink() or not page.is_file() else page.read_bytes()
        except OSError:
            return None

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def _folders(self) -> Iterator[Path]:
        """Folders with a plan or a page, none of them inside a comparison; no link is followed."""
        for where, inner, files in os.walk(self.root):
            path = Path(where)
            deep = len(path.relative_to(self.root).parts) >= DEEP
            inner[:] = [] if deep or PLAN in files else sorted(each for each in inner if not each.startswith("."))
            if PLAN in files or PAGE in files:
                yield path

    def _line(self, path: Path) -> Json:
        """A line of the list, read again only when something of it was written."""
        files = [path / name for name in (PLAN, PAGE, "result.json", "events.jsonl")]
        written = [_written(each) for each in files]
        if path not in self._known or self._known[path][0] != written:
            self._known[path] = written, self._told(path, max(written) / 1e9)
        return self._known[path][1]

    def _told(self, path: Path, when: float) -> Json:
        name = self._name(path)
        row: Json = {"folder": name, "when": when, "comparison": (path / PLAN).is_file(), "report": None}
        if (path / PAGE).is_file() and not (path / PAGE).is_symlink():
            row["report"] = self.link(name)
        if row["comparison"]:
            try:
                row |= {key: value for key, value in line(path, self.root).items() if key not in ("folder", "when")}
            except (UsageError, OSError) as error:
                row["error"] = str(error)
        return strict(row)


def under_way(folder: Path) -> list[Json]:
    """The runs of a comparison that began and have not ended: the last line of each one's log, and how old it is."""
    found = []
    for log in sorted((folder / "runs").glob("*/log.jsonl")):
        if (log.parent / "result.json").exists():
            continue
        try:
            with open(log, "rb") as file:
                file.seek(max(0, log.stat().st_size - TAIL))
                lines = file.read().split(b"\n")[:-1]  # the last one may be half there
            told = json.loads(lines[-1]) if lines else {}
        except (OSError, ValueError):
            continue
        row = {name: told.get(name) for name in ("step", "loss", "seconds")}
        found.append({"run": log.parent.name, **row, "age": max(0.0, time.time() - log.stat().st_mtime)})
    return found


def _written(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
