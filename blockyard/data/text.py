"""Reading text: what the user named becomes a list of documents, or one clear error.

A document is a file or a row of a `.jsonl` file, kept as its UTF-8 bytes. A folder is read recursively in sorted order;
hidden, binary and non-UTF-8 files in it are passed over with a note; in a file that was named that is an error.
"""

import difflib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from blockyard.core.errors import UsageError

BOM = b"\xef\xbb\xbf"
Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


class Texts(NamedTuple):
    """Documents as UTF-8 bytes, a short name for them all, and notes about what was passed over."""

    name: str
    documents: list[bytes]
    notes: tuple[str, ...] = ()


def read_text(paths: Paths, column: str = "text") -> Texts:
    """Read files, folders, `.jsonl` files (`rows.jsonl:body` names the column) and `-`, in the order given."""
    named = [os.fspath(p) for p in ([paths] if isinstance(paths, str | os.PathLike) else paths)]
    documents: list[bytes] = []
    notes: list[str] = []
    seen: set[str] = set()
    for name in named:
        for file, read in _sources(name, column, notes):
            real = file if file == "-" else os.path.realpath(file)
            if real in seen:  # twice, it would stand on both sides of the split
                notes.append(f"{file} was named twice and is read once")
                continue
            seen.add(real)
            documents.extend(read())
    return Texts(_name(named), documents, tuple(notes))


def _sources(name: str, column: str, notes: list[str]) -> Iterator[tuple[str, Callable[[], list[bytes]]]]:
    """What one named path stands for: (path, a function that reads its documents) of each file."""
    if name == "-":
        yield "-", lambda: [_utf8(sys.stdin.buffer.read(), "standard input")]
        return
    file, _, tail = name.rpartition(":")
    if file.lower().endswith(".jsonl") and not os.path.lexists(name):
        name, column = file, tail or column
    path = Path(name)
    if path.is_dir():
        yield from _folder(path, column, notes)
    elif not path.exists():
        raise _missing(path)
    else:
        yield name, lambda: _documents(path, _utf8(_bytes(path), name), column)


def _folder(folder: Path, column: str, notes: list[str]) -> Iterator[tuple[str, Callable[[], list[bytes]]]]:
    hidden, unfit, found = 0, [], 0
    for path in _walk(folder):
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            hidden += 1
            continue
        data = _bytes(path)
        if (flaw := _flaw(data)) is not None:
            unfit.append(f"{path.relative_to(folder)} ({flaw.kind})")
        elif data.strip():
            found += 1
            yield str(path), lambda path=path, data=data: _documents(path, _utf8(data, str(path)), column)
    if hidden:
        notes.append(f"{folder}: passed over {hidden} hidden file{'s'[: hidden > 1]}")
    if unfit:
        more = f" and {len(unfit) - 3} more" if len(unfit) > 3 else ""
        notes.append(f"{folder}: passed over {', '.join(unfit[:3])}{more}")
    if not found:
        raise UsageError(f"no text in folder {folder} (passed over: {hidden} hidden, {len(unfit)} binary or not UTF-8)")


def _walk(folder: Path) -> list[Path]:
    """All regular files below, sorted by path; a hidden folder counts as one hidden entry and is not entered."""
    files: list[Path] = []
    entered: set[str] = set()

    def refuse(error: OSError) -> None:
        raise UsageError(f"cannot read folder {error.filename}: {error.strerror}")

    for root, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        if (real := os.path.realpath(root)) in entered:  # a link back up would never end
            folders.clear()
            continue
        entered.add(real)
        entries = [Path(root, n) for n in names]
        files += [p for p in entries if p.is_file()] + [Path(root, f) for f in folders if f.startswith(".")]
        folders[:] = [f for f in folders if not f.startswith(".")]
    return sorted(files, key=lambda p: p.relative_to(folder).parts)


def _documents(path: Path, data: bytes, column: str) -> list[bytes]:
    if path.suffix.lower() != ".jsonl":
        if not data.strip():
            raise UsageError(f"{path} is empty; name a file with text in it")
        return [data]
    rows = [_row(line, column, path, n) for n, line in enumerate(data.split(b"\n"), 1) if line.strip()]
    if not any(rows):
        raise UsageError(f"{path} is empty: no row has text in column {column!r}")
    return [row for row in rows if row]


def _row(line: bytes, column: str, path: Path, number: int) -> bytes:
    where = f"{path} line {number}"
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where} is not JSON: {error}") from None
    if not isinstance(row, dict):
        raise UsageError(f"{where} is not a JSON object; each row must look like {{{json.dumps(column)}: ...}}")
    if column not in row:
        seen = ", ".join(list(row)[:12]) or "none"
        raise UsageError(f"{where} has no column {column!r}; columns seen: {seen}\nname one of them as {path}:COLUMN")
    if not isinstance(row[column], str):
        raise UsageError(f"{where}: column {column!r} holds {type(row[column]).__name__}, not text")
    try:
        return row[column].encode("utf-8")
    except UnicodeEncodeError as error:
        raise UsageError(f"{where}: column {column!r} holds half a surrogate pair at character {error.start}") from None


class _Flaw(NamedTuple):
    kind: str
    detail: str


def _flaw(data: bytes) -> _Flaw | None:
    """Why these bytes are not UTF-8 text, if so."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return _Flaw("UTF-16", "is UTF-16")
    if (at := data.find(b"\0")) >= 0:
        return _Flaw("binary", f"is binary (a NUL byte at offset {at})")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return _Flaw("not UTF-8", f"is not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}")
    return None


def _utf8(data: bytes, name: str) -> bytes:
    if not data.strip():
        raise UsageError(f"{name} is empty; name a file with text in it")
    if (flaw := _flaw(data)) is not None:
        raise UsageError(f"{name} {flaw.detail}; name a file of UTF-8 text")
    return data.removeprefix(BOM)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None


def _missing(path: Path) -> UsageError:
    parent = path.parent
    if not parent.is_dir():
        return UsageError(f"no such file or folder: {path} (there is no folder {parent})")
    try:
        names = sorted(p.name for p in parent.iterdir())
    except OSError:
        names = []
    near = difflib.get_close_matches(path.name, names, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(str(parent / n) for n in near)}?" if near else ""
    return UsageError(f"no such file or folder: {path}{hint}")


def _name(named: list[str]) -> str:
    first = "standard input" if named[0] == "-" else Path(named[0]).name or named[0]
    return first if len(named) == 1 else f"{first} and {len(named) - 1} more"
