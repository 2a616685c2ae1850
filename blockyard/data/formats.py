"""From the bytes of a file to documents: unpacked, decoded, and taken out of rows; and to lines, read bit by bit.

packed    gzip, xz, bzip2, zstd        told by the first bytes, not by the name
text      UTF-8; UTF-16 and UTF-32 with a byte order mark        other encodings cannot be told apart: refused
rows      .jsonl, .ndjson, parquet     a column of each row is a document; rows without text are counted
"""

import bz2
import codecs
import csv
import gzip
import importlib
import io
import json
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, TextIO

from blockyard.core.errors import UsageError

ROWS = (".jsonl", ".ndjson")
TABLES = (*ROWS, ".parquet")
PACKED = (".gz", ".xz", ".bz2", ".zst")
MARKS = {  # the longer first: a mark of UTF-16 begins that of UTF-32
    codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32", codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16", codecs.BOM_UTF8: "utf-8-sig",
}  # fmt: skip


class Unfit(UsageError):
    """A file that cannot be read as text; `kind` says why in a few words, for a list of many."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def has_rows(name: str) -> bool:
    """Whether a file of this name is a table, packed or not."""
    return bare(name).endswith(TABLES)


def documents_in(name: str, data: bytes, column: str, notes: list[str]) -> list[bytes]:
    """The documents in a file's bytes, as UTF-8; none where there is no text. `notes` gets what is passed over."""
    data = _unpacked(name, data)
    if data.startswith(b"PAR1"):
        rows = _parquet(name, data, column)
    elif bare(name).endswith(ROWS):
        lines = enumerate(_utf8(name, data).split(b"\n"), 1)
        rows = _column(name, [(n, _object(name, n, line)) for n, line in lines if line.strip()], column)
    else:
        return [text] if (text := _utf8(name, data)).strip() else []
    found = [row for row in rows if row]
    if rows and not found:
        raise Unfit("no text", f"{name} is empty: no row has text in column {column!r}")
    if len(found) < len(rows):
        notes.append(f"{name}: passed over {len(rows) - len(found)} of {len(rows)} rows without text in {column!r}")
    return found


def bare(name: str) -> str:
    """A file's name in small letters without the ending of what packed it."""
    name = name.lower()
    return next((name.removesuffix(end) for end in PACKED if name.endswith(end)), name)


@contextmanager
def opened(path: str) -> Iterator[TextIO]:
    """A file of text as lines, unpacked and decoded bit by bit; whatever is wrong with it is an `Unfit` on the way."""
    try:
        with open(path, "rb") as raw:
            magic = raw.read(6)
            raw.seek(0)
            way = next((open_ for start, open_ in _STREAMS.items() if magic.startswith(start)), None)
            stream: Any = raw if way is None else way(raw)
            head = stream.read(4)
            stream.seek(0)
            encoding = next((way for mark, way in MARKS.items() if head.startswith(mark)), "utf-8")
            yield io.TextIOWrapper(stream, encoding, newline="")
    except UnicodeDecodeError as error:
        wanted = encoding.removesuffix("-sig").upper()
        mend = "if you know what it is, convert it first: iconv -f latin1 -t utf-8"
        raise Unfit("not UTF-8", f"{path} is not {wanted}: byte 0x{error.object[error.start]:02x}; {mend}") from None
    except (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile) as error:
        raise Unfit("damaged", f"{path} is damaged, it cannot be unpacked: {error}") from None
    except OSError as error:
        raise Unfit("unreadable", f"cannot read {path}: {error.strerror or error}") from None
    except csv.Error as error:
        raise Unfit("damaged", f"{path} is no table: {error}") from None


def _zstd_stream(raw: Any) -> Any:
    if sys.version_info >= (3, 14):
        return importlib.import_module("compression.zstd").open(raw)
    return io.BytesIO(_unpacked(raw.name, raw.read()))


_STREAMS: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": lambda raw: gzip.GzipFile(fileobj=raw), b"\xfd7zXZ\0": lzma.LZMAFile, b"BZh": bz2.BZ2File,
    b"\x28\xb5\x2f\xfd": _zstd_stream,
}  # fmt: skip


def _unpacked(name: str, data: bytes) -> bytes:
    unpack: Callable[[bytes], bytes] | None = None
    for magic, way in ((b"\x1f\x8b", gzip.decompress), (b"\xfd7zXZ\0", lzma.decompress), (b"BZh", bz2.decompress),
                       (b"\x28\xb5\x2f\xfd", _unzstd)):  # fmt: skip
        if data.startswith(magic):
            unpack = way
    if unpack is None:
        return data
    try:
        return unpack(data)
    except UsageError as error:
        raise Unfit("zstd", f"{name}: {error}") from None
    except Exception as error:
        if isinstance(error, MemoryError):
            raise
        raise Unfit("damaged", f"{name} is damaged, it cannot be unpacked: {error}") from None


def _unzstd(data: bytes) -> bytes:
    if sys.version_info >= (3, 14):
        return importlib.import_module("compression.zstd").decompress(data)
    library, found = extra("zstandard", "zstd is read"), list[bytes]()
    while data:  # a file may hold several frames
        frame = library.ZstdDecompressor().decompressobj()
        found.append(frame.decompress(data))
        if not frame.eof:
            raise ValueError("it is cut short")
        data = frame.unused_data
    return b"".join(found)


def extra(name: str, what: str) -> Any:
    """A module of a library that is not always there; `what` it is for is said where it is missing."""
    if find_spec(name.partition(".")[0]) is None:
        raise UsageError(f"{what} with the {name.partition('.')[0]} library: pip install 'blockyard[data]'")
    return importlib.import_module(name)


def _utf8(name: str, data: bytes) -> bytes:
    """Text as UTF-8 without a byte order mark; bytes that already are it pass as they are."""
    encoding = next((way for mark, way in MARKS.items() if data.startswith(mark)), "utf-8")
    if encoding in ("utf-8", "utf-8-sig") and (at := data.find(b"\0")) >= 0:
        raise Unfit("binary", f"{name} is binary (a NUL byte at offset {at}); name a file of text")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        where = f"byte 0x{data[error.start]:02x} at offset {error.start}"
        if encoding != "utf-8":
            raise Unfit("damaged", f"{name} is damaged: it begins as {encoding.upper()}, {where} is none") from None
        mend = "if you know what it is, convert it first: iconv -f latin1 -t utf-8"
        raise Unfit("not UTF-8", f"{name} is not UTF-8: {where}; {mend}") from None
    return data if encoding == "utf-8" else text.encode()


def json_rows(path: str, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a file that has one a line, each with the number of its line."""
    with opened(path) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, _object(name, number, line)


def _object(name: str, number: int, line: str | bytes) -> dict[str, Any]:
    where = f"{name} line {number}"
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where} is not JSON: {error}") from None
    if not isinstance(row, dict):
        raise UsageError(f'{where} is not a JSON object; each row must look like {{"text": ...}}')
    return row


def _column(name: str, rows: list[tuple[int, dict[str, Any]]], column: str) -> list[bytes]:
    """(rows) the text of each row, empty where it has none."""
    columns = {key for _, row in rows for key in row}
    if rows and column not in columns:
        raise _no_column(name, column, list(rows[0][1]))
    return [_text(f"{name} line {number}", column, row.get(column)) for number, row in rows]


def _no_column(name: str, column: str, columns: list[str]) -> Unfit:
    seen = ", ".join(columns[:12]) or "none"
    message = f"{name} has no column {column!r}; columns seen: {seen}\nname one of them as {name}:COLUMN"
    return Unfit(f"no column {column!r}", message)


def _text(where: str, column: str, value: Any) -> bytes:
    if value is None:
        return b""
    if not isinstance(value, str):
        raise UsageError(f"{where}: column {column!r} holds {type(value).__name__}, not text")
    try:
        return value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UsageError(f"{where}: column {column!r} holds half a surrogate pair at character {error.start}") from None


def _parquet(name: str, data: bytes, column: str) -> list[bytes]:
    try:
        library = extra("pyarrow.parquet", "parquet is read")
    except UsageError as error:
        raise Unfit("parquet", f"{name}: {error}") from None
    try:
        table = library.ParquetFile(io.BytesIO(data))
        columns = table.schema_arrow.names
        values = table.read([column]).column(0).to_pylist() if column in columns else None
    except (OSError, ValueError) as error:  # every error of that library is one of these
        raise Unfit("damaged", f"{name} is damaged, it cannot be read as parquet: {error}") from None
    if values is None:
        raise _no_column(name, column, columns)
    return [_text(f"{name} row {number}", column, value) for number, value in enumerate(values, 1)]
