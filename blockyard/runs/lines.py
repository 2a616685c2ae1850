"""JSON: an object a line, a list of objects, an object of columns, or one object; W&B's exports among them.

Differs  objects within objects are told by dots, `summary.val_loss`; lists within them are left out
"""

import json
from pathlib import Path
from typing import Any

from blockyard.core.errors import UsageError
from blockyard.runs._read import Placed, flat, text_of

FILES = "JSON and JSON lines (.json, .jsonl, .ndjson)"
ENDS = (".json", ".jsonl", ".ndjson")


def known(path: Path) -> bool:
    """By the end of its name; logs of single samples are another form."""
    return path.suffix.lower() in ENDS and not path.name.startswith("samples_") and path.is_file()


def rows(path: Path) -> Placed:
    """A row for every object."""
    text = text_of(path)
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        whole = None
    if whole is None:
        for number, line in enumerate(text.splitlines(), start=1):
            if line.strip():
                yield f"{path}, line {number}", flat(json_line(path, number, line))
        return
    columns = isinstance(whole, dict) and whole and all(isinstance(each, list) for each in whole.values())
    if columns:
        if len({len(each) for each in whole.values()}) > 1:
            raise UsageError(f"{path}: its columns have different lengths")
        whole = [dict(zip(whole, row)) for row in zip(*whole.values())]
    found = whole if isinstance(whole, list) else [whole]
    if not found or not all(isinstance(each, dict) for each in found):
        raise UsageError(f"{path} holds no objects; a table of runs is a list of them, or one a line")
    for number, each in enumerate(found, start=1):
        yield f"{path}, object {number}", flat(each)


def json_line(path: Path, number: int, line: str) -> dict[str, Any]:
    """The object of a line."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        raise UsageError(f"{path}, line {number} is no JSON: {line.strip()[:40]!r}") from None
    if not isinstance(found, dict):
        raise UsageError(f"{path}, line {number} is no object: {line.strip()[:40]!r}")
    return found
