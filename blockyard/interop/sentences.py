"""The pieces of a `tokenizer.model`, read from its bytes: a message of fields, each a number, its kind and its value.

    1  a piece      1 its text, 2 its score, 3 its kind (1 normal, 2 unknown, 3 control, 4 user's, 5 unused, 6 a byte)
    2  how it was trained      3 what it is: 1 by likelihood, 2 by merges;  40 .. 42 ids of unknown, begin, end
    3  how a text is changed   1 the rule's name, 3 a space put in front, 4 spaces that follow spaces left out

Source   https://github.com/google/sentencepiece (sentencepiece_model.proto)
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

MERGES = 2
BYTE = 6


@dataclass(frozen=True)
class Pieces:
    """What a model of SentencePiece says: its pieces with score and kind, and how it reads a text."""

    pieces: list[tuple[str, float, int]]
    kind: int
    rule: str
    prefixed: bool
    squeezed: bool
    first: int
    last: int

    @property
    def before(self) -> tuple[int, ...]:
        return (self.first,) if 0 <= self.first < len(self.pieces) else ()

    @property
    def after(self) -> tuple[int, ...]:
        return (self.last,) if 0 <= self.last < len(self.pieces) else ()

    @property
    def not_there(self) -> str | None:
        """Why llama.cpp does not read a text as these pieces do; None where it does."""
        if self.kind != MERGES:
            return "its pieces are chosen by likelihood, and there they are merged by score"
        if self.rule != "identity":
            return f"it changes a text by the rule {self.rule}"
        if self.squeezed:
            return "it leaves out spaces that follow spaces"
        held = sum(kind == BYTE for _, _, kind in self.pieces)
        return None if held == 256 else f"{held} of 256 bytes have a piece"


def read_pieces(content: bytes) -> Pieces:
    """The pieces; ValueError where it is no such file."""
    try:
        fields = list(_fields(content))
        train = dict(_fields(next((value for number, value in fields if number == 2), b"")))
        change = dict(_fields(next((value for number, value in fields if number == 3), b"")))
        pieces = [dict(_fields(value)) for number, value in fields if number == 1]
        made = [
            (each[1].decode(), struct.unpack("<f", each.get(2, b"\0\0\0\0"))[0], int(each.get(3, 1))) for each in pieces
        ]
        if not made:
            raise ValueError
        first, last = (_signed(train.get(number, usual)) for number, usual in ((41, 1), (42, 2)))
        rule = change.get(1, b"").decode() or ("of no name" if change.get(2) else "identity")
        return Pieces(made, train.get(3, 1), rule, bool(change.get(3, 1)), bool(change.get(4, 1)), first, last)
    except (ValueError, IndexError, KeyError, AttributeError, TypeError, struct.error):
        raise ValueError("tokenizer.model is no model of SentencePiece") from None


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _fields(content: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of a message: a whole number, or bytes."""
    place = 0
    while place < len(content):
        key, place = _number(content, place)
        kind = key & 7
        if kind == 0:
            value, place = _number(content, place)
            yield key >> 3, value
            continue
        if kind not in (1, 2, 5):
            raise ValueError
        size, place = _number(content, place) if kind == 2 else ({1: 8, 5: 4}[kind], place)
        if place + size > len(content):
            raise ValueError
        yield key >> 3, content[place : place + size]
        place += size


def _number(content: bytes, place: int) -> tuple[int, int]:
    """A whole number of seven bits a byte, the lowest first, and where it ends."""
    value = shift = 0
    while True:
        byte = content[place]
        place += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, place
