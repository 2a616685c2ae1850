"""What the tests of each system said when they were last run, and whether that still counts.

    {"format": 1, "systems": {slug: {"date", "version", "file", "must_hold": {"passed", "failed", "skipped"},
                                     "oracle": {...} or null, "sources": {path: hash}}}}

`sources` are the parts, kernels, recipes and test files that the tests loaded. In a checkout a record is stale as
soon as one of them has changed; an installed library has no tests beside it and takes its records as they are.
"""

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from blockyard.core.errors import UsageError
from blockyard.core.files import read_document

HERE = Path(__file__).parent
FORMAT = 1
TOLD = {"date", "version", "file", "must_hold", "oracle", "sources"}


def read_records(path: Path = HERE / "records.json") -> dict[str, Any]:
    """Records by slug; none where the file is not there."""
    if not path.exists():
        return {}
    found = read_document(path, FORMAT, sealed_since=FORMAT + 1).get("systems")
    if not isinstance(found, dict) or any(not isinstance(t, dict) or not t.keys() >= TOLD for t in found.values()):
        raise UsageError(f"{path} is damaged: systems does not say what tests said; run python -m tests.record")
    return found


def checkout() -> Path | None:
    """The folder that holds the library and its tests, where there is one."""
    root = HERE.parent.parent
    return root if (root / "tests" / "systems").is_dir() else None


def verdicts(slug: str, records: dict[str, Any]) -> dict[str, Any] | None:
    """A record without its sources, and whether it is stale; where only a test file is there, empty counts."""
    root = checkout()
    record = records.get(slug)
    if record is None:
        file = f"tests/systems/test_{slug.replace('-', '_')}.py"
        none = {"passed": 0, "failed": 0, "skipped": 0}
        empty = {"file": file, "date": None, "version": None, "must_hold": none, "oracle": None, "stale": False}
        return empty if root is not None and (root / file).exists() else None
    told = {key: record[key] for key in ("file", "date", "version", "must_hold", "oracle")}
    return told | {"stale": root is not None and bool(changed(record, root))}


def changed(record: dict[str, Any], root: Path) -> list[str]:
    """The sources of a record that are no longer what they were."""
    return [path for path, known in record["sources"].items() if fingerprint(root / path) != known]


def fingerprint(path: Path) -> str:
    """Twelve hexadecimal digits that name a file's text; none where it is gone."""
    try:
        return _hash(path, path.stat().st_mtime_ns)
    except OSError:
        return ""


@cache
def _hash(path: Path, written: int) -> str:
    return hashlib.sha256(path.read_text(encoding="utf-8").encode()).hexdigest()[:12]
