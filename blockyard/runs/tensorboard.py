"""Event files of TensorBoard: the scalars of a run, whose name is the folder that the file lies in.

    record    length (8 bytes, little-endian), its checksum (4), the event, its checksum (4)
    event     message of protocol buffers: 2 the step, 5 a summary of values (1)
    value     1 the tag, 2 a float; or 8 a tensor with one number: 5 floats, 6 doubles, or 4 its bytes of type 1

A row for every step, with a column for every tag. Read here and not by the library, whose import takes longer than
a verdict; the format is frozen. Checksums are not checked. A file whose end was cut off, as of a run that was killed,
counts as far as it goes.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

from blockyard.core.errors import UsageError
from blockyard.runs._proto import fields
from blockyard.runs._read import Placed, Row

FILES = "event files of TensorBoard (*tfevents*)"
FLOAT, DOUBLE = 1, 2  # types of a tensor


def known(path: Path) -> bool:
    """By its name."""
    return "tfevents" in path.name and path.is_file()


def rows(path: Path) -> Placed:
    """A row for every step that has a scalar."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    steps: dict[int, Row] = {}
    try:
        for event in _records(content):
            step, found = _event(event)
            if found:
                steps.setdefault(step, {}).update(found)
    except (ValueError, IndexError, struct.error):
        raise UsageError(f"{path} is damaged, or no event file") from None
    if not steps:
        raise UsageError(f"{path} holds no scalar")
    for step, tags in sorted(steps.items()):
        yield f"{path}, step {step}", {"step": step, **tags}


def _records(content: bytes) -> Iterator[bytes]:
    at = 0
    while at + 12 <= len(content):
        (length,) = struct.unpack_from("<Q", content, at)
        if at + 16 + length > len(content):
            if at == 0:
                raise ValueError("no record is whole")
            return
        yield content[at + 12 : at + 12 + length]
        at += 16 + length
    if at == 0:
        raise ValueError("no record is whole")


def _event(event: bytes) -> tuple[int, Row]:
    step, found = 0, {}
    for number, value in fields(event):
        if number == 2:
            step = value - (1 << 64) if value >> 63 else value
        elif number == 5:
            found |= dict(_value(each) for kind, each in fields(value) if kind == 1)
    return step, {tag: value for tag, value in found.items() if value is not None}


def _value(message: bytes) -> tuple[str, float | None]:
    tag, number = "", None
    for kind, value in fields(message):
        if kind == 1:
            tag = value.decode("utf-8", "replace")
        elif kind == 2 and len(value) == 4:
            (number,) = struct.unpack("<f", value)
        elif kind == 8:
            number = _scalar(value)
    return tag, number


def _scalar(tensor: bytes) -> float | None:
    """The number of a tensor that holds just one."""
    found = dict(fields(tensor))
    letter = {FLOAT: "f", DOUBLE: "d"}.get(found.get(1, 0))
    size = struct.calcsize(letter) if letter else 0
    for kind in (4, 5 if letter == "f" else 6):
        if letter and isinstance(found.get(kind), bytes) and len(found[kind]) == size:
            return struct.unpack(f"<{letter}", found[kind])[0]
    return None
