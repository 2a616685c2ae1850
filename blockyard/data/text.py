"""Reading text: what the user named becomes a list of documents, or one clear error.

A document is a file or a row of a table, kept as its UTF-8 bytes. A folder is read recursively in sorted order; hidden
files in it and those that cannot be read as text are passed over with a note; a file that was named is an error then.
"""

import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from blockyard.core.errors import UsageError, missing
from blockyard.data.formats import Unfit, documents_in, has_rows

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


class Texts(NamedTuple):
    """Documents as UTF-8 bytes, a short name for them all, and notes about what was passed over."""

    name: str
    documents: list[bytes]
    notes: tuple[str, ...] = ()


def read_text(paths: Paths, column: str = "text") -> Texts:
    """Read files, folders, tables (`rows.jsonl:body` names the column) and `-`, in the order given."""
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


def distinct(texts: Texts) -> Texts:
    """Each text once, whatever its spaces and newlines: copies would stand on both sides of a split."""
    seen: set[bytes] = set()
    kept: list[bytes] = []
    for document in texts.documents:
        digest = hashlib.sha256(b" ".join(document.split())).digest()
        if digest not in seen:
            seen.add(digest)
            kept.append(document)
    more = len(texts.documents) - len(kept)
    if not more:
        return texts
    lost = sum(map(len, texts.documents)) - sum(map(len, kept))
    copies = f"{more} of {len(texts.documents)} documents repeat another one and are left out ({lost:,} bytes)"
    return Texts(texts.name, kept, (*texts.notes, copies))


def _sources(name: str, column: str, notes: list[str]) -> Iterator[tuple[str, Callable[[], list[bytes]]]]:
    """What one named path stands for: (path, a function that reads its documents) of each file."""
    if name == "-":
        yield "-", lambda: _named("standard input", sys.stdin.buffer.read(), column, notes)
        return
    file, _, tail = name.rpartition(":")
    if has_rows(file) and not os.path.lexists(name):
        name, column = file, tail or column
    path = Path(name)
    if os.path.isdir(path):
        yield from _folder(path, column, notes)
    elif not os.path.exists(path):
        raise missing(path)
    else:
        yield name, lambda: _named(name, _bytes(path), column, notes)


def _named(name: str, data: bytes, column: str, notes: list[str]) -> list[bytes]:
    found = documents_in(name, data, column, notes)
    if not found:
        raise UsageError(f"{name} is empty; name a file with text in it")
    return found


def _folder(folder: Path, column: str, notes: list[str]) -> Iterator[tuple[str, Callable[[], list[bytes]]]]:
    hidden, unfit, found = 0, [], 0
    for path in _walk(folder):
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            hidden += 1
            continue
        try:
            documents = documents_in(str(path), _bytes(path), column, notes)
        except Unfit as flaw:
            unfit.append(f"{path.relative_to(folder)} ({flaw.kind})")
            continue
        if documents:
            found += 1
            yield str(path), lambda documents=documents: documents
    if hidden:
        notes.append(f"{folder}: passed over {hidden} hidden file{'s'[: hidden > 1]}")
    if unfit:
        more = f" and {len(unfit) - 3} more" if len(unfit) > 3 else ""
        notes.append(f"{folder}: passed over {', '.join(unfit[:3])}{more}")
    if not found:
        raise UsageError(f"no text in folder {folder} (passed over: {hidden} hidden, {len(unfit)} that are no text)")


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


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Unfit("unreadable", f"cannot read {path}: {error.strerror}") from None


def _name(named: list[str]) -> str:
    first = "standard input" if named[0] == "-" else Path(named[0]).name or named[0]
    return first if len(named) == 1 else f"{first} and {len(named) - 1} more"
