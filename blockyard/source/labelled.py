"""Texts with a class each: in class folders, or in tables with a column of texts and one of classes.

Source   none    Family  text
Differs  nothing known
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from blockyard.core.errors import UsageError
from blockyard.data.formats import documents_in, rows_in
from blockyard.data.found import File, columns, facts, find, given
from blockyard.data.items import Items
from blockyard.data.rows import Held
from blockyard.source._base import Source
from blockyard.source._files import named, read_each

TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")


class Labelled(Source):
    gives = "items"
    usual = False
    endings = (".txt", ".md", ".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".csv.gz", ".jsonl.gz")

    def read(self, paths: Sequence[str], **how: Any) -> Items:
        if not paths:
            raise UsageError("name the texts: --data FOLDER with a folder for each class, or a .csv or .jsonl file")
        tables = [path for path in paths if not os.path.isdir(path) and "{" not in path]
        if tables and len(paths) > 1:
            raise UsageError("name one table of texts, or folders of them")
        names, texts, fields, notes = _of_table(tables[0]) if tables else _of_files(paths)
        said = (
            facts(named(paths), "texts", fields)
            if given(fields)
            else dict(fields=fields, labels=np.zeros(0), classes=[])
        )
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
    if not os.path.exists(file):
        raise UsageError(f"no such file: {path}")
    rows = rows_in(file, Path(file).read_bytes())
    if not rows:
        raise UsageError(f"{file} has no rows")
    known = list(dict.fromkeys(key for row in rows for key in row))
    column = column or "text"
    if column not in known:
        raise UsageError(
            f"{file} has no column {column!r}; columns: {', '.join(known[:12])}\nname that of the texts: {file}:COLUMN"
        )
    texts = [str(row.get(column) or "").encode() for row in rows]
    seen: set[bytes] = set()
    kept = [i for i, text in enumerate(texts) if text.strip() and not (text in seen or seen.add(text))]
    fields = columns([{key: _word(rows[i].get(key)) for key in known if key != column} for i in kept])
    lost = len(rows) - len(kept)
    notes = (f"{lost} of {len(rows)} rows have no text, or that of another one, and are left out",) if lost else ()
    return [f"row {i + 1}" for i in kept], [texts[i] for i in kept], fields, notes


def _word(value: Any) -> str:
    return "" if value is None else str(value)
