"""Offline runs of W&B: the log that `wandb sync` would send, run-ID.wandb.

    file      7 bytes, then blocks of 32 KiB of parts: checksum (4 bytes), length (2, little-endian), 1 the whole of a
              record, 2, 3 and 4 its beginning, middle and end
    record    message of protocol buffers: 2 a step of the history, 3 of the summary, 5 the configuration, 17 the run,
              18 its end with an exit code

A row for every step, with a column for every figure, and `config.<name>` of the run's configuration; what stands in the
summary alone is of the last step. A run without an end is running, or was killed; one that ended with another exit code
than 0 failed. Checksums are not checked. A file whose end was cut off counts as far as it goes.
"""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from blockyard.core.errors import UsageError
from blockyard.runs._proto import fields
from blockyard.runs._read import Placed, Row, flat

FILES = "offline runs of W&B (offline-run-*)"
HEAD, BLOCK, PART = 7, 1 << 15, 7  # bytes
WHOLE, LAST = 1, 4  # kinds of parts that end a record
UNSIGNED = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
HISTORY, SUMMARY, CONFIG, RUN, EXIT = 2, 3, 5, 17, 18


def known(path: Path) -> bool:
    """A log by its name, or the folder that W&B keeps one in, with more beside it."""
    return (path.suffix == ".wandb" and path.is_file()) or _log(path) is not None


def _log(folder: Path) -> Path | None:
    return next(iter(sorted(folder.glob("run-*.wandb"))), None) if folder.is_dir() else None


def rows(path: Path) -> Placed:
    """A row for every step of the history."""
    if path.is_symlink():  # to the latest run, which is met by its own name
        return
    try:
        content = (_log(path) or path).read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    run: Row = {"status": "running"}
    steps: dict[int, Row] = {}
    summary: Row = {}
    try:
        for record in _records(content):
            for kind, value in fields(record):
                if kind == HISTORY:
                    step, found = _step(value)
                    steps.setdefault(step, {}).update(found)
                elif kind == SUMMARY:
                    summary |= _items(value, 1)
                elif kind == CONFIG:
                    run |= _config(value)
                elif kind == RUN:
                    run |= _run(value)
                elif kind == EXIT:
                    run["status"] = "failed" if dict(fields(value)).get(1) else "finished"
    except (ValueError, IndexError, struct.error, UnicodeDecodeError):
        raise UsageError(f"{path} is damaged, or no log of W&B") from None
    if alone := {name: value for name, value in summary.items() if not any(name in row for row in steps.values())}:
        steps.setdefault(max(steps, default=0), {}).update(alone)
    if not steps:
        raise UsageError(f"{path} holds no figures")
    for step, found in sorted(steps.items()):
        yield f"{path}, step {step}", {**run, "step": step, **found}


def _records(content: bytes) -> Iterator[bytes]:
    if content[:4] != b":W&B":
        raise ValueError("no log")
    at, record = HEAD, b""
    while at + PART <= len(content):
        left = BLOCK - at % BLOCK
        if left < PART:  # too few bytes for a part: the next block begins
            at += left
            continue
        length, kind = struct.unpack_from("<HB", content, at + 4)
        if at + PART + length > len(content):
            return
        record += content[at + PART : at + PART + length]
        at += PART + length
        if kind in (WHOLE, LAST):
            yield record
            record = b""


def _items(message: bytes, number: int) -> Row:
    """Names and values of items; what W&B adds begins with a line and is left out, values that are no words or numbers
    too."""
    found: Row = {}
    for kind, item in fields(message):
        if kind != number:
            continue
        parts = [(n, value.decode()) for n, value in fields(item) if n in (1, 2, 16)]
        name = ".".join(value for n, value in parts if n < 16)
        value = _plain(next((value for n, value in parts if n == 16), "null"))
        if not name.startswith("_") and value is not None:
            found |= flat({name: value})
    return found


def _plain(text: str) -> Any:
    """A value of JSON; numbers that JSON has no sign for are words there."""
    value = json.loads(text)
    return UNSIGNED.get(value, value) if isinstance(value, str) else value


def _step(message: bytes) -> tuple[int, Row]:
    step = next((dict(fields(value)).get(1, 0) for kind, value in fields(message) if kind == 2), 0)
    return step, _items(message, 1)


def _config(message: bytes) -> Row:
    return {f"config.{name}": value for name, value in _items(message, 1).items()}


def _run(message: bytes) -> Row:
    names = {1: "run_id", 3: "project", 6: "group", 7: "job_type", 8: "run_name"}
    found: Row = {}
    for kind, value in fields(message):
        if kind in names:
            found[names[kind]] = value.decode()
        elif kind == 4:
            found |= _config(value)
    return found
