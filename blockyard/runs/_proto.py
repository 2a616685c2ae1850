"""Messages of protocol buffers, field by field: what logs of several trackers are made of.

    field   a key (its number times 8, and its kind), then a number in bytes of 7 bits, 8 or 4 bytes, or a length
            and so many bytes

Read here and not by a library, whose import takes longer than a verdict.
"""

from collections.abc import Iterator
from typing import Any

VARINT, EIGHT, BYTES, FOUR = 0, 1, 2, 5  # how a field is written


def fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """The number and the content of every field of a message."""
    at = 0
    while at < len(message):
        key, at = varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == VARINT:
            value, at = varint(message, at)
            yield number, value
            continue
        size = {EIGHT: 8, FOUR: 4}.get(kind)
        if kind == BYTES:
            size, at = varint(message, at)
        if size is None or at + size > len(message):
            raise ValueError(f"a field of kind {kind}")
        yield number, message[at : at + size]
        at += size


def varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
