"""Token shards: each split's ids as one flat, memory-mapped file, so that a run starts without tokenising again.

A folder per (text, split, codec) holds `train.bin`, `train.documents.bin` and so on, `tokenizer.json`, and the index
`shards.json` with the size and sha256 of each, written last; `train.sizes.bin` where a codec's tokens have no bytes by
id. Every file is written whole, and its content follows from the folder's name, so processes that prepare one corpus at
once only write the same bytes twice. A folder with a file that does not match its index is rebuilt.
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
    With a codec of another library: sizes (N,) bytes that each token stands for where it stands, in the place of
    token_bytes; the first `lead` tokens of every document stand for nothing and are not asked for; notes on the text.
    """

    name: str
    tokens: np.ndarray
    offsets: np.ndarray
    token_bytes: np.ndarray | None
    bytes: int
    hash: str
    sizes: np.ndarray | None = None
    lead: int = 0
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.tokens)

    def spelt(self, first: int = 0, last: int | None = None) -> np.ndarray:
        """(n,) the bytes that the tokens from `first` to `last` (not included) stand for."""
        if self.sizes is not None:
            return np.asarray(self.sizes[first:last], np.int64)
        assert self.token_bytes is not None
        return self.token_bytes[self.tokens[first:last]]

    def asked(self) -> np.ndarray | None:
        """(N,) whether a token says something of the text; None where all do."""
        if not self.lead:
            return None
        found = np.ones(len(self), np.bool_)
        found[(np.asarray(self.offsets[:-1])[:, None] + np.arange(self.lead)).reshape(-1)] = False
        return found


class Damaged(ValueError):
    """A shard folder whose files do not match its index."""


def encode_split(name: str, documents: Iterable[bytes], codec: Codec) -> Split:
    """Tokenise each document by itself and lay them end to end, with no separator."""
    read = list(codec.read_each(documents))
    offsets = np.cumsum([0] + [len(each.ids) for each in read], dtype="<i8")
    tokens = np.concatenate([each.ids for each in read]).astype(codec.dtype, copy=False)
    sizes = [each.sizes for each in read if each.sizes is not None]
    return _split(name, tokens, offsets, codec, np.concatenate(sizes) if sizes else None, codec.remarks(read))


def write_shards(folder: Path, key: str, codec: Codec, splits: Mapping[str, Split]) -> None:
    """Write all files, the index last; OSError when the folder cannot be written."""
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    contents: dict[str, bytes | memoryview] = {"tokenizer.json": codec.to_json()}
    for name in NAMES:
        contents[f"{name}.bin"] = _raw(splits[name].tokens)
        contents[f"{name}.documents.bin"] = _raw(splits[name].offsets)
        if (sizes := splits[name].sizes) is not None:
            contents[f"{name}.sizes.bin"] = _raw(sizes)
    files = {file: {"bytes": len(c), "sha256": hashlib.sha256(c).hexdigest()} for file, c in contents.items()}
    for file, content in contents.items():
        write_whole(folder / file, content)
    index = {"format": FORMAT, "key": key, "codec": codec.name, "files": files}
    if notes := {name: list(splits[name].notes) for name in NAMES if splits[name].notes}:
        index["notes"] = notes
    write_whole(folder / INDEX, sealed(index))


def open_shards(folder: Path, key: str, known: Codec | None = None) -> tuple[Codec, dict[str, Split]] | None:
    """The codec and splits of a folder, checked byte for byte; None without an index, Damaged where one is wrong.

    known   the codec, where the key already stands for one that is there
    """
    if not (folder / INDEX).exists():
        return None
    try:
        index = read_document(folder / INDEX, FORMAT, sealed_since=2)
    except UsageError as error:
        raise Damaged(str(error)) from None
    try:
        if index["format"] != FORMAT or index["key"] != key:
            raise Damaged(f"{INDEX} is of another corpus or format")
        files, name, notes = index["files"], index["codec"], index.get("notes", {})
        codec = known or codec_from_json(_checked(folder, "tokenizer.json", files).tobytes(), name)
        return codec, {n: _open(folder, n, files, codec, notes.get(n, ())) for n in NAMES}
    except Damaged:
        raise
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise Damaged(f"{type(error).__name__}: {error}") from None


def _open(folder: Path, name: str, files: dict[str, dict], codec: Codec, notes: Iterable[str]) -> Split:
    tokens = _checked(folder, f"{name}.bin", files).view(codec.dtype)
    offsets = _checked(folder, f"{name}.documents.bin", files).view("<i8")
    sizes = _checked(folder, file, files).view("<u4") if (file := f"{name}.sizes.bin") in files else None
    return _split(name, tokens, offsets, codec, sizes, notes)


def _checked(folder: Path, file: str, files: dict[str, dict]) -> np.ndarray:
    """A file's mapped bytes, checked; the mapping itself is hashed, so that what was checked is what will be read."""
    path = folder / file
    if not path.is_file() or path.stat().st_size != files[file]["bytes"]:
        raise Damaged(f"{file} is missing or cut short")
    data = np.asarray(np.memmap(path, np.uint8, "r"))
    if hashlib.sha256(data.data).hexdigest() != files[file]["sha256"]:
        raise Damaged(f"{file} does not match its sha256")
    return data


def _split(
    name: str, tokens: np.ndarray, offsets: np.ndarray, codec: Codec, sizes: np.ndarray | None = None,
    notes: Iterable[str] = (),
) -> Split:  # fmt: skip
    digest, lead = hashlib.sha256(_raw(tokens)).hexdigest(), len(codec.before)
    if sizes is not None:
        return Split(name, tokens, offsets, None, int(sizes.sum(dtype=np.int64)), digest, sizes, lead, tuple(notes))
    size = int(codec.token_bytes @ np.bincount(tokens, minlength=codec.vocab))
    return Split(name, tokens, offsets, codec.token_bytes, size, digest)


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
