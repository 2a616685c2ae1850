"""Codecs: text to token ids and back, with the byte length of every token so that a loss becomes bits per byte.

Bytes, byte-level BPE, and pieces that make a text likely. All reach every byte (no unknown token), add no special
token, normalise nothing, and are saved as a `tokenizer.json` that the `tokenizers` library reads. Codecs of other
libraries, which may do all that, are in `foreign.py`.
"""

import hashlib
import importlib
import json
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from blockyard.core.errors import UsageError, unknown
from blockyard.core.files import write_whole
from blockyard.data.likelihood import learn

PIECE = 1 << 16  # characters in a piece, and pieces encoded at once: the tokenizer keeps offsets and strings for all
BATCH = 64
KINDS = {"BPE": "bpe", "Unigram": "likelihood"}  # what a learned codec is called, by its model in a tokenizer.json


class Reading(NamedTuple):
    """A text as a codec reads it.

    ids      (N,), those that stand before every text among them
    sizes    (N,) the bytes that each stands for where it stands; None where `token_bytes` says it by id
    altered  whether the ids, written back, are another text
    """

    ids: np.ndarray
    sizes: np.ndarray | None = None
    altered: bool = False


class Codec(ABC):
    """What turns text into ids.

    vocab        as many ids exist
    token_bytes  id i stands for so many bytes of UTF-8; a codec of another library has none: there the place decides
    before       ids that stand before every document and are never asked for, of no bytes
    after        ids that close a text that is whole
    """

    name: str
    vocab: int
    token_bytes: np.ndarray
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()

    @property
    def dtype(self) -> np.dtype:
        """The narrowest unsigned type that holds every id."""
        return np.dtype("u1" if self.vocab <= 1 << 8 else "<u2" if self.vocab <= 1 << 16 else "<u4")

    @property
    def hash(self) -> str:
        """sha256 of the saved form."""
        return hashlib.sha256(self.to_json()).hexdigest()

    def encode(self, text: str) -> np.ndarray:
        """The ids of a text, in `dtype`."""
        try:
            return next(self.encode_each([text.encode("utf-8")]))
        except UnicodeEncodeError as error:
            raise UsageError(f"the text is not valid Unicode at character {error.start}; give UTF-8 text") from None

    @abstractmethod
    def encode_each(self, texts: Iterable[bytes]) -> Iterator[np.ndarray]:
        """The ids of each text, in order; the texts are valid UTF-8."""

    def read_each(self, texts: Iterable[bytes]) -> Iterator[Reading]:
        """Each text as a document."""
        return (Reading(ids) for ids in self.encode_each(texts))

    def remarks(self, readings: Sequence[Reading]) -> list[str]:
        """What a figure in bits per byte of these documents must say beside it."""
        return []

    @abstractmethod
    def decode_utf8(self, ids: Iterable[int]) -> bytes:
        """The bytes that the ids stand for; they may end inside a character."""

    def decode(self, ids: Iterable[int]) -> str:
        """The text of the ids; bytes that are no character become U+FFFD."""
        return self.decode_utf8(ids).decode("utf-8", "replace")

    @abstractmethod
    def to_json(self) -> bytes:
        """The content of the codec's `tokenizer.json`."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `tokenizer.json` whole or not at all."""
        write_whole(Path(path), self.to_json())


class Bytes(Codec):
    """Ids are the 256 bytes of UTF-8 themselves."""

    name = "bytes"
    vocab = 256

    def __init__(self) -> None:
        self.token_bytes = np.ones(256, np.int64)

    def encode_each(self, texts: Iterable[bytes]) -> Iterator[np.ndarray]:
        return (np.frombuffer(text, np.uint8) for text in texts)

    def decode_utf8(self, ids: Iterable[int]) -> bytes:
        return bytes(int(i) for i in ids if i < 256)  # a model may have spare ids

    def to_json(self) -> bytes:
        level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
        model = {"type": "BPE", "vocab": {char: byte for byte, char in enumerate(byte_chars())}, "merges": []}
        whole = {"version": "1.0", "added_tokens": [], "pre_tokenizer": level, "decoder": level, "model": model}
        return json.dumps(whole).encode()


class Bpe(Codec):
    """Byte-level byte-pair encoding, or the likeliest byte-level pieces, from the content of a `tokenizer.json`."""

    def __init__(self, content: bytes, name: str | None = None) -> None:
        self._content = content
        self._tokenizer = library().Tokenizer.from_str(content.decode("utf-8"))
        back = {char: byte for byte, char in enumerate(byte_chars())}
        table = {i: bytes(back[c] for c in t) for t, i in self._tokenizer.get_vocab().items()}
        self.vocab = max(table) + 1
        self._table = [table.get(i, b"") for i in range(self.vocab)]
        self.name = name or f"{KINDS[json.loads(content)['model']['type']]}:{self.vocab}"
        self.token_bytes = np.array([len(token) for token in self._table], np.int64)

    @classmethod
    def train(cls, texts: Iterable[bytes], vocab: int) -> "Bpe":
        """Learn merges from UTF-8 texts; a short text may yield fewer tokens than asked."""
        lib = library()
        tokenizer = lib.Tokenizer(lib.models.BPE())
        tokenizer.pre_tokenizer = lib.pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = lib.decoders.ByteLevel()
        trainer = lib.trainers.BpeTrainer(vocab_size=vocab, initial_alphabet=byte_chars(), show_progress=False)
        tokenizer.train_from_iterator((piece for text in texts for piece in cut(text.decode("utf-8"))), trainer)
        return cls(tokenizer.to_str().encode("utf-8"), f"bpe:{vocab}")

    @classmethod
    def likely(cls, texts: Iterable[bytes], vocab: int) -> "Bpe":
        """Learn pieces that make UTF-8 texts likely; a short text may yield fewer than asked."""
        lib, words = library(), Counter[str]()
        level = lib.pre_tokenizers.ByteLevel(add_prefix_space=False)
        for text in texts:
            for piece in cut(text.decode("utf-8")):
                words.update(word for word, _ in level.pre_tokenize_str(piece))
        chars = byte_chars()
        back = {char: byte for byte, char in enumerate(chars)}
        learned = learn({bytes(back[char] for char in word): count for word, count in words.items()}, vocab)
        named = [("".join(chars[byte] for byte in piece), log) for piece, log in learned.items()]
        tokenizer = lib.Tokenizer(lib.models.Unigram(named, None, False))
        tokenizer.pre_tokenizer, tokenizer.decoder = level, lib.decoders.ByteLevel()
        return cls(tokenizer.to_str().encode("utf-8"), f"likelihood:{vocab}")

    def encode_each(self, texts: Iterable[bytes]) -> Iterator[np.ndarray]:
        texts = iter(texts)
        while some := list(islice(texts, BATCH)):
            pieces = [list(cut(text.decode("utf-8"))) for text in some]
            ids = self._encode_batch([piece for text in pieces for piece in text])
            for text in pieces:
                yield np.concatenate([np.empty(0, self.dtype), *islice(ids, len(text))])

    def _encode_batch(self, pieces: list[str]) -> Iterator[np.ndarray]:
        """The ids of many pieces, a few megabytes at once: the library spreads them over the cores."""
        for start in range(0, len(pieces), BATCH):
            for encoding in self._tokenizer.encode_batch(pieces[start : start + BATCH], add_special_tokens=False):
                yield np.array(encoding.ids, self.dtype)

    def decode_utf8(self, ids: Iterable[int]) -> bytes:
        return b"".join(self._table[i] if i < self.vocab else b"" for i in ids)  # a model may have spare ids

    def to_json(self) -> bytes:
        return self._content


def parse_codec(spec: str) -> int | None:
    """The vocabulary size that `bpe:N` or `likelihood:N` asks for, None for `bytes`; all else is the user's error."""
    kind, colon, size = spec.partition(":")
    if spec == "bytes":
        return None
    if kind not in KINDS.values():
        raise unknown("codec", spec, ("bytes", *(f"{kind}:4096" for kind in KINDS.values())))
    if not (colon and size.isascii() and size.isdigit() and 256 < int(size) <= 1 << 20):
        raise UsageError(f"codec {spec!r}: a vocabulary has 257 to {1 << 20} tokens, as in {kind}:4096")
    return int(size)


def learned_codec(spec: str, texts: Iterable[bytes]) -> Codec:
    """The codec of `bytes`, `bpe:N` or `likelihood:N`, from UTF-8 texts that it is learned from."""
    vocab = parse_codec(spec)
    if vocab is None:
        return Bytes()
    return Bpe.likely(texts, vocab) if spec.startswith("likelihood") else Bpe.train(texts, vocab)


def load_codec(path: str | os.PathLike[str], name: str | None = None) -> Codec:
    """The codec saved in a `tokenizer.json` of ours; any other kind of tokenizer is refused."""
    try:
        content = Path(path).read_bytes()
        return codec_from_json(content, name)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{path} cannot be used: {error}") from None


def codec_from_json(content: bytes, name: str | None = None) -> Codec:
    """The codec of the content of a `tokenizer.json` of ours; ValueError, with the reason, when it is none."""
    if content == (plain := Bytes()).to_json():
        return plain
    tokenizer = tokenizer_json(content)
    if not spells(tokenizer):
        raise ValueError("its tokens do not spell a text byte by byte")
    try:
        return Bpe(content, name)
    except Exception as error:  # the tokenizers library raises bare Exceptions
        raise ValueError(f"{error}".partition("\n")[0][:200]) from None


def tokenizer_json(content: bytes) -> dict[str, Any]:
    """The object in a `tokenizer.json`, of whatever kind; ValueError, with the reason, when it is none."""
    try:
        tokenizer = json.loads(content)
    except (ValueError, RecursionError):
        why = "it is a pickle, which is never opened" if content[:1] == b"\x80" else "it is not JSON"
        raise ValueError(why) from None
    if not isinstance(tokenizer, dict) or not isinstance(tokenizer.get("model"), dict):
        raise ValueError("it has no model")
    return tokenizer


def spells(tokenizer: dict[str, Any]) -> bool:
    """Whether the bytes of the ids, laid end to end, are always the text: byte-level, and nothing that changes one."""
    model, level = tokenizer["model"], tokenizer.get("pre_tokenizer")
    if any(tokenizer.get(name) for name in ("normalizer", "post_processor", "added_tokens", "truncation", "padding")):
        return False
    if any(model.get(name) for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback")):
        return False
    if not isinstance(level, dict) or level.get("type") != "ByteLevel" or level.get("add_prefix_space"):
        return False
    vocab = model.get("vocab") or {}
    known = vocab if isinstance(vocab, dict) else {piece for piece, _ in vocab}
    return model.get("type") in KINDS and all(char in known for char in byte_chars())


def learner(vocab: int | None) -> str:
    """What would learn the merges: another version of it may learn others. Empty for bytes, which learn nothing."""
    return "" if vocab is None else f"tokenizers {library().__version__}"


def library() -> Any:
    """The tokenizers library, loaded only where it is asked for."""
    return importlib.import_module("tokenizers")


def cut(text: str, most: int = PIECE) -> Iterator[str]:
    """The text in pieces of at most so many characters, cut after a newline where there is one."""
    start = 0
    while len(text) - start > most:
        end = text.rfind("\n", start, start + most) + 1 or start + most
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]


@cache
def byte_chars() -> list[str]:
    """Byte-level BPE's printable stand-in for each byte: itself where it prints, else the next code from 256 up."""
    prints = {*range(33, 127), *range(161, 173), *range(174, 256)}
    spare = iter(range(256, 512))
    return [chr(byte if byte in prints else next(spare)) for byte in range(256)]
