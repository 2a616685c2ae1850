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
from typing import Any

from blockyard.core.errors import UsageError
from blockyard.runs._read import Placed, Row

FILES = "event files of TensorBoard (*tfevents*)"
FLOAT, DOUBLE = 1, 2  # types of a tensor
VARINT, EIGHT, BYTES, FOUR = 0, 1, 2, 5  # how a field is written


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
    for number, value in _fields(event):
        if number == 2:
            step = value - (1 << 64) if value >> 63 else value
        elif number == 5:
            found |= dict(_value(each) for kind, each in _fields(value) if kind == 1)
    return step, {tag: value for tag, value in found.items() if value is not None}


def _value(message: bytes) -> tuple[str, float | None]:
    tag, number = "", None
    for kind, value in _fields(message):
        if kind == 1:
            tag = value.decode("utf-8", "replace")
        elif kind == 2 and len(value) == 4:
            (number,) = struct.unpack("<f", value)
        elif kind == 8:
            number = _scalar(value)
    return tag, number


def _scalar(tensor: bytes) -> float | None:
    """The number of a tensor that holds just one."""
    fields = dict(_fields(tensor))
    letter = {FLOAT: "f", DOUBLE: "d"}.get(fields.get(1, 0))
    size = struct.calcsize(letter) if letter else 0
    for kind in (4, 5 if letter == "f" else 6):
        if letter and isinstance(fields.get(kind), bytes) and len(fields[kind]) == size:
            return struct.unpack(f"<{letter}", fields[kind])[0]
    return None


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """The number and the content of every field of a message."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        size = {EIGHT: 8, FOUR: 4}.get(kind)
        if kind == BYTES:
            size, at = _varint(message, at)
        if size is None or at + size > len(message):
            raise ValueError(f"a field of kind {kind}")
        yield number, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
