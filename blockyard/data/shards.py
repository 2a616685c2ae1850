"""Token shards: each split's ids as one flat, memory-mapped file, so that a run starts without tokenising again.

A folder per (text, split, codec) holds `train.bin`, `train.documents.bin` and so on, `tokenizer.json`, and the index
`shards.json` with the size and sha256 of each, written last. Every file is written whole, and its content follows from
the folder's name, so processes that prepare one corpus at once only write the same bytes twice. A folder with a file
that does not match its index is rebuilt.
"""

import hashlib
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from blockyard.core.errors import UsageError
from blockyard.core.files import read_document, sealed, write_whole
from blockyard.data.split import NAMES
from blockyard.data.tokens import Codec, codec_from_json

FORMAT = 2  # of the index; 1 had no checksum
INDEX = "shards.json"
STALE = 24 * 3600.0


@dataclass(frozen=True, eq=False)
class Split:
    """One part of a corpus: its ids, and where its documents begin.

    tokens (N,) unsigned ids, often memory-mapped and never to be written; offsets (documents + 1,) token index of each
    document's start, then N; token_bytes (vocab,) bytes each id stands for; bytes of text in all; hash of the ids.
    """

    name: str
    tokens: np.ndarray
    offsets: np.ndarray
    token_bytes: np.ndarray
    bytes: int
    hash: str

    def __len__(self) -> int:
        return len(self.tokens)


class Damaged(ValueError):
    """A shard folder whose files do not match its index."""


def encode_split(name: str, documents: Iterable[bytes], codec: Codec) -> Split:
    """Tokenise each document by itself and lay them end to end, with no separator."""
    pieces = list(codec.encode_each(documents))
    offsets = np.cumsum([0] + [len(p) for p in pieces], dtype="<i8")
    return _split(name, np.concatenate(pieces).astype(codec.dtype, copy=False), offsets, codec)


def write_shards(folder: Path, key: str, codec: Codec, splits: Mapping[str, Split]) -> None:
    """Write all files, the index last; OSError when the folder cannot be written."""
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    contents: dict[str, bytes | memoryview] = {"tokenizer.json": codec.to_json()}
    for name in NAMES:
        contents[f"{name}.bin"] = _raw(splits[name].tokens)
        contents[f"{name}.documents.bin"] = _raw(splits[name].offsets)
    files = {file: {"bytes": len(c), "sha256": hashlib.sha256(c).hexdigest()} for file, c in contents.items()}
    for file, content in contents.items():
        write_whole(folder / file, content)
    index = {"format": FORMAT, "key": key, "codec": codec.name, "files": files}
    write_whole(folder / INDEX, sealed(index))


def open_shards(folder: Path, key: str) -> tuple[Codec, dict[str, Split]] | None:
    """The codec and splits of a folder, checked byte for byte; None without an index, Damaged where one is wrong."""
    if not (folder / INDEX).exists():
        return None
    try:
        index = read_document(folder / INDEX, FORMAT, sealed_since=2)
    except UsageError as error:
        raise Damaged(str(error)) from None
    try:
        if index["format"] != FORMAT or index["key"] != key:
            raise Damaged(f"{INDEX} is of another corpus or format")
        files, name = index["files"], index["codec"]
        codec = codec_from_json(_checked(folder, "tokenizer.json", files).tobytes(), name)
        return codec, {n: _open(folder, n, files, codec) for n in NAMES}
    except Damaged:
        raise
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise Damaged(f"{type(error).__name__}: {error}") from None


def _open(folder: Path, name: str, files: dict[str, dict], codec: Codec) -> Split:
    tokens = _checked(folder, f"{name}.bin", files).view(codec.dtype)
    return _split(name, tokens, _checked(folder, f"{name}.documents.bin", files).view("<i8"), codec)


def _checked(folder: Path, file: str, files: dict[str, dict]) -> np.ndarray:
    """A file's mapped bytes, checked; the mapping itself is hashed, so that what was checked is what will be read."""
    path = folder / file
    if not path.is_file() or path.stat().st_size != files[file]["bytes"]:
        raise Damaged(f"{file} is missing or cut short")
    data = np.asarray(np.memmap(path, np.uint8, "r"))
    if hashlib.sha256(data.data).hexdigest() != files[file]["sha256"]:
        raise Damaged(f"{file} does not match its sha256")
    return data


def _split(name: str, tokens: np.ndarray, offsets: np.ndarray, codec: Codec) -> Split:
    size = int(codec.token_bytes @ np.bincount(tokens, minlength=codec.vocab))
    return Split(name, tokens, offsets, codec.token_bytes, size, hashlib.sha256(_raw(tokens)).hexdigest())


def _raw(array: np.ndarray) -> memoryview:
    return np.ascontiguousarray(array).view(np.uint8).data


def _sweep(folder: Path) -> None:
    """Remove what a killed process left half-written, once it is too old to belong to a living one."""
    for path in folder.glob(".*.tmp"):
        try:
            if time.time() - path.stat().st_mtime > STALE:
                os.unlink(path)
        except OSError:  # another process was quicker
            continue
