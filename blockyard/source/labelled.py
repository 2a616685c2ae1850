"""Texts with a class each: in class folders, or in tables with a column of texts and one of classes.

Source   none    Family  text
Differs  nothing known
"""

import hashlib
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from blockyard.core.errors import UsageError
from blockyard.data.formats import documents_in
from blockyard.data.found import File, columns, facts, find, given
from blockyard.data.items import Items
from blockyard.data.rows import Held
from blockyard.source._base import Source
from blockyard.source._files import named, read_each
from blockyard.source.table import Table


class Labelled(Source):
    gives = "items"
    usual = False
    endings = (".txt", ".md", ".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")

    def read(self, paths: Sequence[str], **how: Any) -> Items:
        if not paths:
            raise UsageError("name the texts: --data FOLDER with a folder for each class, or a .csv or .jsonl file")
        tables = [path for path in paths if not os.path.isdir(path) and "{" not in path]
        if tables and len(paths) > 1:
            raise UsageError("name one table of texts, or folders of them")
        names, texts, fields, notes = _of_table(tables[0]) if tables else _of_files(paths)
        said: dict[str, Any] = dict(fields=fields, labels=np.zeros(0, np.int64), classes=[])
        if given(fields):
            said = facts(named(paths), "texts", fields)
        digest = hashlib.sha256()
        for row in zip(names, texts, *fields.values()):
            digest.update(repr(row).encode())
        held = np.empty(len(texts), object)
        held[:] = texts
        return Items(
            named(paths), digest.hexdigest(), "texts", Held({"tokens": held}), names=names,
            codec=how.get("codec") or "bytes", notes=notes, **said,
        )  # fmt: skip


Read = tuple[list[str], list[bytes], dict[str, np.ndarray], tuple[str, ...]]


def _of_files(paths: Sequence[str]) -> Read:
    """A text a file, its class by the folder or the pattern."""
    files, notes = find(paths, (".txt", ".md"), "texts")
    texts: dict[str, bytes] = {}

    def see(file: File, data: bytes) -> None:
        found = documents_in(file.name, data, "", [])
        if not found:
            raise UsageError("no text in it")
        texts[file.name] = found[0]

    kept, _, more = read_each(files, see, "texts")
    return [f.name for f in kept], [texts[f.name] for f in kept], columns([f.fields for f in kept]), (*notes, *more)


def _of_table(path: str) -> Read:
    """A text a row, in the column that is named behind the file, or called text."""
    file, _, column = (path, "", "") if os.path.exists(path) else path.rpartition(":")
    table = Table().read([file or path])
    column, known = column or "text", table.columns
    if column not in known:
        raise UsageError(
            f"{file} has no column {column!r}; columns: {', '.join(list(known)[:12])}\n"
            f"name that of the texts: {file}:COLUMN"
        )
    texts = [word.encode() for word in _words(known[column])]
    seen: set[bytes] = set()
    kept: list[int] = []
    for i, text in enumerate(texts):
        if text.strip() and text not in seen:  # a copy would stand on both sides of the split
            seen.add(text)
            kept.append(i)
    fields = {name: _words(cells)[kept] for name, cells in known.items() if name != column}
    lost = len(texts) - len(kept)
    notes = (f"{lost} of {len(texts)} rows have no text, or that of another one, and are left out",) if lost else ()
    return [f"row {i + 1}" for i in kept], [texts[i] for i in kept], fields, (*table.notes, *notes)


def _words(cells: np.ndarray) -> np.ndarray:
    """A column as words: whole numbers without a point, nothing where a cell is empty."""
    if cells.dtype.kind == "f":
        return np.array(["" if x != x else str(int(x)) if x == int(x) else str(x) for x in cells.tolist()], object)
    return np.array(["" if cell is None else str(cell) for cell in cells], object)
