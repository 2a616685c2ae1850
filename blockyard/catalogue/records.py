"""What the tests of each system said when they were last run, and whether that still counts.

    records/<slug>.json     a Record: counts of what must hold and of its oracle, what its study said, its sources

`sources` are the files of the library that the tests called a function of, with the test file. In a checkout a record
is stale as soon as one of them has changed; an installed library has no tests beside it and takes its records as they
are.
"""

import hashlib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from blockyard.core.document import Document
from blockyard.core.files import read_document

HERE = Path(__file__).parent
FOLDER = HERE / "records"
FORMAT = 2  # 1 was one file for all


@dataclass(frozen=True)
class Counts:
    """How many tests passed, failed and were left out."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    @property
    def all_passed(self) -> bool:
        """Nothing failed and nothing was left out."""
        return self.passed > 0 and self.failed == self.skipped == 0

    @property
    def total(self) -> int:
        return self.passed + self.failed + self.skipped


@dataclass(frozen=True)
class Studied:
    """What the latest record of a system's study says."""

    name: str
    verdict: str
    tier: str = ""
    date: str = ""


@dataclass(frozen=True)
class Record(Document):
    """What was found when a system's tests ran; without a date they never did."""

    file: str
    date: str | None = None
    version: str | None = None
    must_hold: Counts = Counts()
    oracle: Counts | None = None
    study: Studied | None = None
    sources: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def stale(self) -> bool:
        """Whether a source is no longer what it was; never where there are no tests beside the library."""
        root = checkout()
        return root is not None and bool(changed(self, root))


def read_records(folder: Path = FOLDER) -> dict[str, Record]:
    """Records by slug."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        found[path.stem] = Record.from_json(read_document(path, FORMAT, sealed_since=FORMAT + 1), path)
    return found


def checkout() -> Path | None:
    """The folder that holds the library and its tests, where there is one."""
    root = HERE.parent.parent
    return root if (root / "tests" / "systems").is_dir() else None


def record_of(slug: str, records: dict[str, Record]) -> Record | None:
    """The record of a system; where only a test file is there, an empty one."""
    root, file = checkout(), f"tests/systems/test_{slug.replace('-', '_')}.py"
    if slug not in records and root is not None and (root / file).exists():
        return Record(file)
    return records.get(slug)


def changed(record: Record, root: Path) -> list[str]:
    """The sources of a record that are no longer what they were."""
    return [path for path, known in record.sources.items() if fingerprint(root / path) != known]


def fingerprint(path: Path) -> str:
    """Twelve hexadecimal digits that name a file's text; none where it is gone."""
    try:
        return _hash(path, path.stat().st_mtime_ns)
    except OSError:
        return ""


@cache
def _hash(path: Path, written: int) -> str:
    return hashlib.sha256(path.read_text(encoding="utf-8").encode()).hexdigest()[:12]
