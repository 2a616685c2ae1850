"""A corpus: the user's text, split, tokenised and ready to draw from."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from blockyard.core.errors import UsageError
from blockyard.core.files import cache_root
from blockyard.data.default import default_text
from blockyard.data.shards import FORMAT, Damaged, Split, encode_split, open_shards, write_shards
from blockyard.data.split import NAMES, RULE, Fractions, Parts, split_documents
from blockyard.data.text import Paths, Texts, distinct, read_text
from blockyard.data.tokens import Codec, learned_codec, learner, parse_codec

NEEDED_BYTES = 1000  # below this a 5% split is a line or less, and no loss on it means anything
LINE = 40  # bytes: shorter lines repeat in any text
OVERLAP = 0.1


@dataclass(frozen=True, eq=False)
class Corpus:
    """Text in three splits. `hash` names the documents and the split (not the codec, which has its own)."""

    name: str
    hash: str
    codec: Codec
    train: Split
    tune: Split
    test: Split
    split_by: str
    notes: tuple[str, ...] = ()

    @property
    def bytes(self) -> dict[str, int]:
        """Bytes of text in each split."""
        return {name: getattr(self, name).bytes for name in NAMES}

    def usually(self) -> str:
        """The task that a text is for where none is named."""
        return "next_token"

    def summary(self) -> str:
        """One line for the plan: what the text is, its hash, the size of each split, the codec."""
        sizes = ", ".join(f"{name} {_size(n)}" for name, n in self.bytes.items())
        vocab = f", {self.codec.vocab} tokens" if self.codec.vocab != 256 else ""
        how = f"split by {self.split_by}; codec {self.codec.name}{vocab}"
        return f"{self.name} (sha256 {self.hash[:12]}): {sizes}; {how}"


def load_text(
    paths: Paths | None = None,
    *,
    codec: str | Codec = "bytes",
    column: str = "text",
    cache: str | os.PathLike[str] | None = None,
    fractions: Fractions = (0.9, 0.05, 0.05),
) -> Corpus:
    """Read, split and tokenise text; without paths, the text that every CPython carries.

    paths      files, folders, tables (`rows.jsonl:body` names the column), `-` for standard input
    codec      `bytes`, `bpe:N` or `likelihood:N` (learned from the train split), or the codec of a saved model
    cache      folder for token shards; else BLOCKYARD_CACHE, else ~/.cache/blockyard; memory where none can be written
    fractions  shares of train, tune and test by bytes
    """
    vocab = parse_codec(codec) if isinstance(codec, str) else None
    texts = _texts(paths, column)
    if paths:
        texts = distinct(texts)
    found = sum(map(len, texts.documents))
    if found < NEEDED_BYTES:
        raise UsageError(f"{texts.name} is too short: {found} bytes of text found, at least {NEEDED_BYTES} needed")
    parts = split_documents(texts.documents, fractions)
    content = _content_hash(texts.documents, fractions)
    notes = [*texts.notes, *_overlap(parts)]
    built, splits = _prepare(parts, content, codec, vocab, cache_root(cache), notes)
    if vocab is not None and built.vocab < vocab:
        notes.append(f"the text yields only {built.vocab} of the {vocab} tokens asked for")
    for name, split in splits.items():
        if len(split) < 2:
            raise UsageError(f"{texts.name} is too short: its {name} split has {len(split)} token and needs 2")
    return Corpus(texts.name, content, built, **splits, split_by=parts.by, notes=tuple(notes))


def load_whole(paths: Paths, codec: Codec, column: str = "text") -> tuple[Texts, Split]:
    """All of a text, undivided, however short: what a model that is trained is scored on."""
    texts = _texts(paths, column)
    return texts, encode_split("whole", texts.documents, codec)


def _texts(paths: Paths | None, column: str) -> Texts:
    named = [] if paths is None else [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    return read_text(named, column) if named else default_text()


def _overlap(parts: Parts) -> list[str]:
    """A note where much of the test text stands in train line by line: one file that holds a text twice, for one."""
    test = {line for text in parts.test for line in text.split(b"\n") if len(line) >= LINE}
    total = sum(map(len, test))
    again = test.intersection(line for text in parts.train for line in text.split(b"\n") if len(line) >= LINE)
    share = sum(map(len, again)) / total if total else 0.0
    if share < OVERLAP:
        return []
    return [f"{share:.0%} of the long lines of the test stand word for word in train: the figures flatter memory"]


def _prepare(
    parts: Parts, content: str, codec: str | Codec, vocab: int | None, root: Path | None, notes: list[str]
) -> tuple[Codec, dict[str, Split]]:
    """Open the shards, or make them; whatever is wrong with the cache costs time, never the run."""
    key = _digest([FORMAT, content, codec if isinstance(codec, str) else codec.hash, learner(vocab)])
    folder = root / "text" / key[:32] if root is not None else None
    known = codec if isinstance(codec, Codec) else None
    if folder is not None:
        try:
            if (opened := open_shards(folder, key, known)) is not None:
                return opened
        except Damaged as error:
            notes.append(f"rebuilt the token shards in {folder}: {error}")
    built = known or learned_codec(str(codec), parts.train)
    splits = {name: encode_split(name, getattr(parts, name), built) for name in NAMES}
    if folder is None:
        notes.append("no home folder for a cache; tokens are kept in memory")
        return built, splits
    try:
        write_shards(folder, key, built, splits)
        # Mapped pages are shared with the other processes of a run and can be dropped; the arrays here cannot.
        return open_shards(folder, key, known) or (built, splits)
    except (OSError, Damaged) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        notes.append(f"cannot keep token shards in {folder} ({reason}); tokens are kept in memory")
        return built, splits


def _content_hash(documents: list[bytes], fractions: Fractions) -> str:
    digest = hashlib.sha256()
    for document in documents:
        digest.update(len(document).to_bytes(8, "little"))
        digest.update(document)
    return _digest([RULE, digest.hexdigest(), [float(f) for f in fractions]])


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _size(count: int) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB" if count >= 1e3 else f"{count} bytes"
