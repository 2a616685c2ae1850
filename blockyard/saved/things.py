"""New images, sounds or texts as a trained model reads them: in the size, at the rate, by the codec that it has."""

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from blockyard.core.errors import UsageError, missing
from blockyard.data.clips import Clips, Heard, decode
from blockyard.data.formats import documents_in
from blockyard.data.found import walk
from blockyard.data.pictures import GREY, Pictures
from blockyard.data.rows import Held, Rows
from blockyard.data.tokens import Codec
from blockyard.source._packaged import installed
from blockyard.source.images import Images
from blockyard.source.sounds import Sounds
from blockyard.source.table import Table
from blockyard.task._predicts import KeptThings
from blockyard.task._rows_of_text import padded

TEXTS, TABLES = (".txt", ".md"), (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
SHOWN = 3  # files that a note names


def things(where: str, kept: KeptThings, codec: Codec | None) -> tuple[str, list[str], Rows, list[str]]:
    """What a line of the predictions is (file or row), the names of these, the rows as the model reads them, and what
    must be said. Files that are none of the kind are passed over with a note."""
    if kept.kind == "texts":
        assert codec is not None, "a model of texts has a codec"
        return _texts(where, kept, codec)
    library = installed("PIL.Image", "Pillow", "images are read") if kept.kind == "images" else None
    files, notes = _files(where, Images.endings if library else Sounds.endings, kept.kind)
    names, paths, heads, unfit = list[str](), list[str](), list[Heard](), list[str]()
    coloured = 0
    for name, path in files:
        try:
            if library:
                coloured += not _grey(library, name, _bytes(path))
            else:
                heads.append(_heard(name, _bytes(path)))
        except UsageError as error:
            unfit.append(str(error))
            continue
        names.append(name)
        paths.append(path)
    if not names:
        raise UsageError(f"none of the {kept.kind} in {where} can be read: {unfit[0]}")
    if unfit:
        more = f" and {len(unfit) - SHOWN} more" if len(unfit) > SHOWN else ""
        notes.append(f"passed over: {'; '.join(unfit[:SHOWN])}{more}")
    if library:
        height, width, channels = kept.shape
        if coloured and channels == 1:
            notes.append(
                f"{coloured} of {len(names)} images have colours, and are read in grey as the model reads them"
            )
        return "file", names, Pictures(library, paths, (height, width), (height, width), channels == 1), notes
    clips = Clips(paths, heads, int(kept.rate or 1), kept.shape[0])
    if clips.cut:
        notes.append(f"{clips.cut} of {len(names)} sounds last longer than {kept.shape[0]:,} samples: heard to there")
    return "file", names, clips, notes


def _grey(library: Any, name: str, data: bytes) -> bool:
    """Whether an image has no colours."""
    try:
        with library.open(io.BytesIO(data)) as image:
            return image.mode in GREY
    except (OSError, ValueError, SyntaxError):
        raise UsageError(f"{name} is no image, {len(data)} bytes") from None


def _heard(name: str, data: bytes) -> Heard:
    """What the head of a sound says."""
    rate, samples = decode(name, data)
    if not len(samples):
        raise UsageError(f"{name} has no sample in it")
    return Heard(rate, len(samples))


def _texts(where: str, kept: KeptThings, codec: Codec) -> tuple[str, list[str], Rows, list[str]]:
    """Texts of files, or of a column of a table, named behind it or called text."""
    file, _, column = (where, "", "") if os.path.exists(where) else where.rpartition(":")
    notes: list[str] = []
    if (file or where).lower().removesuffix(".gz").endswith(TABLES) and not os.path.isdir(file or where):
        column = column or "text"
        table = Table().read([file or where], words=[column])
        if column not in table.columns:
            raise UsageError(
                f"{file or where} has no column {column!r}; columns: {', '.join(list(table.columns)[:12])}\n"
                f"name that of the texts: {file or where}:COLUMN"
            )
        cells = table.columns[column][::-1] if table.turned else table.columns[column]
        of, names = "row", [str(i) for i in range(1, len(cells) + 1)]
        texts = ["" if cell is None else str(cell) for cell in cells]
    else:
        files, notes = _files(where, TEXTS, kept.kind)
        of, names = "file", [name for name, _ in files]
        texts = ["".join(each.decode() for each in documents_in(n, _bytes(p), "", notes)) for n, p in files]
    empty = [name for name, text in zip(names, texts) if not text.strip()]
    if empty:
        raise UsageError(f"{where}: {of} {empty[0]} holds no text; take it out, or write some")
    ids = list(codec.encode_each([text.encode() for text in texts]))
    most = kept.shape[0]
    cut = sum(len(each) > most for each in ids)
    if cut:
        notes = [*notes, f"{cut} of {len(ids)} texts are longer than {most} tokens and are read to there"]
    return of, names, Held(padded([each.astype(np.int64) for each in ids], most)), notes


def _files(where: str, endings: tuple[str, ...], what: str) -> tuple[list[tuple[str, str]], list[str]]:
    """The names and paths of the files with such endings, of a folder with all below it, or one file."""
    if not os.path.isdir(where):
        if not os.path.exists(where):
            raise missing(Path(where))
        if not where.lower().endswith(endings):
            raise UsageError(f"{where} is not one of the {what} that are read: {', '.join(endings)}")
        return [(os.path.basename(where), where)], []
    every = list(walk(where))
    mine = [name for name in every if name.lower().endswith(endings)]
    if not mine:
        raise UsageError(f"there are no {what} in {where} ({', '.join(endings)})")
    others = len(every) - len(mine)
    notes = [f"passed over {others} other files in {where}"] if others else []
    return [(name, os.path.join(where, name)) for name in mine], notes


def _bytes(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None


def pieces(rows: Rows, size: int) -> Iterator[dict[str, np.ndarray]]:
    """The arrays of all rows, so many at a time."""
    for first in range(0, len(rows), size):
        yield rows.take(slice(first, min(first + size, len(rows))))
