"""Codecs: text to token ids and back, with the byte length of every token so that a loss becomes bits per byte.

Bytes, byte-level BPE, and pieces that make a text likely. All reach every byte (no unknown token), add no special
token, normalise nothing, and are saved as a `tokenizer.json` that the `tokenizers` library reads.
"""

import hashlib
import importlib
import json
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from blockyard.core.errors import UsageError, unknown
from blockyard.core.files import write_whole
from blockyard.data.likelihood import learn

PIECE = 1 << 16  # characters in a piece, and pieces encoded at once: the tokenizer keeps offsets and strings for all
BATCH = 64
KINDS = {"BPE": "bpe", "Unigram": "likelihood"}  # what a learned codec is called, by its model in a tokenizer.json


class Codec(ABC):
    """What turns text into ids. `vocab` ids exist; id i stands for `token_bytes[i]` bytes of UTF-8."""

    name: str
    vocab: int
    token_bytes: np.ndarray

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
        return bytes(int(i) for i in ids)

    def to_json(self) -> bytes:
        level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
        model = {"type": "BPE", "vocab": {char: byte for byte, char in enumerate(_chars())}, "merges": []}
        whole = {"version": "1.0", "added_tokens": [], "pre_tokenizer": level, "decoder": level, "model": model}
        return json.dumps(whole).encode()


class Bpe(Codec):
    """Byte-level byte-pair encoding, or the likeliest byte-level pieces, from the content of a `tokenizer.json`, ours
    or another library's.

    Of another's, the added tokens stand for their own text, and ids may be missing. Where its rules change a text (a
    normaliser may), that text is refused as it is encoded.
    """

    def __init__(self, content: bytes, name: str | None = None) -> None:
        self._content = content
        self._tokenizer = _library().Tokenizer.from_str(content.decode("utf-8"))
        back = {char: byte for byte, char in enumerate(_chars())}
        added = {i: token.content.encode() for i, token in self._tokenizer.get_added_tokens_decoder().items()}
        table = {i: bytes(back[c] for c in t) for t, i in self._tokenizer.get_vocab().items() if i not in added} | added
        self.vocab = max(table) + 1
        self._table = [table.get(i, b"") for i in range(self.vocab)]
        self._exact = _ours(json.loads(content))
        self.name = name or f"{KINDS[json.loads(content)['model']['type']]}:{self.vocab}"
        self.token_bytes = np.array([len(token) for token in self._table], np.int64)

    @classmethod
    def train(cls, texts: Iterable[bytes], vocab: int) -> "Bpe":
        """Learn merges from UTF-8 texts; a short text may yield fewer tokens than asked."""
        lib = _library()
        tokenizer = lib.Tokenizer(lib.models.BPE())
        tokenizer.pre_tokenizer = lib.pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = lib.decoders.ByteLevel()
        trainer = lib.trainers.BpeTrainer(vocab_size=vocab, initial_alphabet=_chars(), show_progress=False)
        tokenizer.train_from_iterator((piece for text in texts for piece in _pieces(text.decode("utf-8"))), trainer)
        return cls(tokenizer.to_str().encode("utf-8"), f"bpe:{vocab}")

    @classmethod
    def likely(cls, texts: Iterable[bytes], vocab: int) -> "Bpe":
        """Learn pieces that make UTF-8 texts likely; a short text may yield fewer than asked."""
        lib, words = _library(), Counter[str]()
        level = lib.pre_tokenizers.ByteLevel(add_prefix_space=False)
        for text in texts:
            for piece in _pieces(text.decode("utf-8")):
                words.update(word for word, _ in level.pre_tokenize_str(piece))
        chars = _chars()
        back = {char: byte for byte, char in enumerate(chars)}
        learned = learn({bytes(back[char] for char in word): count for word, count in words.items()}, vocab)
        named = [("".join(chars[byte] for byte in piece), log) for piece, log in learned.items()]
        tokenizer = lib.Tokenizer(lib.models.Unigram(named, None, False))
        tokenizer.pre_tokenizer, tokenizer.decoder = level, lib.decoders.ByteLevel()
        return cls(tokenizer.to_str().encode("utf-8"), f"likelihood:{vocab}")

    def encode_each(self, texts: Iterable[bytes]) -> Iterator[np.ndarray]:
        texts = iter(texts)
        while some := list(islice(texts, BATCH)):
            pieces = [list(_pieces(text.decode("utf-8"))) for text in some]
            ids = self._encode_batch([piece for text in pieces for piece in text])
            for text, asked in zip(pieces, some):
                found = np.concatenate([np.empty(0, self.dtype), *islice(ids, len(text))])
                if not self._exact and self.decode_utf8(found.tolist()) != asked:
                    raise UsageError("the tokenizer of this model changes this text as it reads it; use another text")
                yield found

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
    """The codec saved in a `tokenizer.json`; any other kind of tokenizer is refused."""
    try:
        content = Path(path).read_bytes()
        return codec_from_json(content, name)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{path} cannot be used: {error}") from None


def codec_from_json(content: bytes, name: str | None = None) -> Codec:
    """The codec of the content of a `tokenizer.json`; ValueError, with the reason, when it is none that we can use."""
    if content == (plain := Bytes()).to_json():
        return plain
    try:
        tokenizer = json.loads(content)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    try:
        if (flaw := _flaw(tokenizer)) is not None:
            raise ValueError(flaw)
        return Bpe(content, name)
    except Exception as error:  # the tokenizers library raises bare Exceptions
        raise ValueError(f"{error}".partition("\n")[0][:200]) from None


def _flaw(tokenizer: Any) -> str | None:
    """Why this is no byte-level BPE, if so: only there do the ids' bytes laid end to end give the text."""
    model = tokenizer.get("model") if isinstance(tokenizer, dict) else None
    if not isinstance(model, dict):
        return "it has no model"
    if model.get("type") not in KINDS:
        return f"its model is {model.get('type')}; byte-level BPE is what is known"
    vocab = model.get("vocab", {})
    known = set(vocab) if isinstance(vocab, dict) else {piece for piece, _ in vocab}
    steps = [step for step in _steps(tokenizer.get("pre_tokenizer")) if step.get("type") == "ByteLevel"]
    if not steps or not known.issuperset(_chars()):
        return "its pieces are not byte-level (SentencePiece is not known)"
    if any(step.get("add_prefix_space") for step in steps):
        return "it puts a space before every text"
    if any(token.get("lstrip") or token.get("rstrip") for token in tokenizer.get("added_tokens") or ()):
        return "its added tokens swallow the spaces beside them"
    return None


def _steps(before: Any) -> list[dict[str, Any]]:
    """The pre-tokenizers of a `tokenizer.json`, one after the other."""
    if not isinstance(before, dict):
        return []
    inner = before.get("pretokenizers") if before.get("type") == "Sequence" else None
    return [step for one in inner for step in _steps(one)] if isinstance(inner, list) else [before]


def _ours(tokenizer: dict[str, Any]) -> bool:
    """Whether nothing in it could change a text."""
    extra = (tokenizer.get(name) for name in ("normalizer", "post_processor", "added_tokens"))
    return tokenizer["pre_tokenizer"]["type"] == "ByteLevel" and not any(extra)


def learner(vocab: int | None) -> str:
    """What would learn the merges: another version of it may learn others. Empty for bytes, which learn nothing."""
    return "" if vocab is None else f"tokenizers {_library().__version__}"


def _library() -> Any:
    """The tokenizers library, loaded only where BPE is asked for."""
    return importlib.import_module("tokenizers")


def _pieces(text: str) -> Iterator[str]:
    """The text in pieces of at most PIECE characters, cut after a newline where there is one."""
    start = 0
    while len(text) - start > PIECE:
        end = text.rfind("\n", start, start + PIECE) + 1 or start + PIECE
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]


@cache
def _chars() -> list[str]:
    """Byte-level BPE's printable stand-in for each byte: itself where it prints, else the next code from 256 up."""
    prints = {*range(33, 127), *range(161, 173), *range(174, 256)}
    spare = iter(range(256, 512))
    return [chr(byte if byte in prints else next(spare)) for byte in range(256)]
