"""A codec of another library: its ids as it makes them, and the bytes of a text shared out among them.

    ids of a document    `before`, then those of its text        nothing is put behind a document
    bytes of a token     from where the token before it ends in the text to where it ends itself

The tokens of a document stand for all of its bytes together, whatever the rules of the other library do to a text: so
bits per byte mean the same under every codec. Where those rules lose something, that is counted and told.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from blockyard.core.errors import UsageError
from blockyard.data.tokens import Codec, Reading, cut

MOST = 1 << 20  # characters in a piece: a longer document is read piece by piece
AT_ONCE = 1 << 22  # characters that are read at once: the other library keeps much of each token


class Token(NamedTuple):
    """A token that a folder adds to its tokenizer: it is looked for in a text before anything else."""

    content: str
    id: int | None = None
    special: bool = True
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False


class Engine(Protocol):
    """The other library.

    kind     what it is called in a line           vocab            as many ids exist
    unknown  the id of what it cannot say          before, after    what it puts around a text
    """

    kind: str
    vocab: int
    unknown: int | None
    before: tuple[int, ...]
    after: tuple[int, ...]

    def read(self, texts: Sequence[str]) -> list[tuple[list[int], list[int]]]:
        """For each text its ids, and where each ends in the text, in characters."""
        ...

    def write(self, ids: list[int]) -> str:
        """The text of ids, special ones as they are written; ids that it does not have are passed over."""
        ...

    def saved(self) -> bytes:
        """All that the ids depend on, as JSON."""
        ...


class Foreign(Codec):
    """What an engine reads and writes, as a codec."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.vocab, self.name = engine, engine.vocab, f"{engine.kind}:{engine.vocab}"
        self.before, self.after = engine.before, engine.after

    @property
    def hash(self) -> str:
        return hashlib.sha256(b"foreign" + self.to_json()).hexdigest()

    def encode_each(self, texts: Iterable[bytes]) -> Iterator[np.ndarray]:
        return (ids for _, ids, _ in self._each(texts))

    def read_each(self, texts: Iterable[bytes]) -> Iterator[Reading]:
        before = np.array(self.before, self.dtype)
        for text, ids, ends in self._each(texts):
            sizes = np.concatenate([np.zeros(len(before), "<u4"), _sizes(text, ends)])
            yield Reading(np.concatenate([before, ids]), sizes, self.engine.write(ids.tolist()) != text)

    def remarks(self, readings: Sequence[Reading]) -> list[str]:
        found, total = [], sum(len(each.ids) for each in readings)
        lost = [each.sizes[each.ids == self.engine.unknown] for each in readings if each.sizes is not None]
        if self.engine.unknown is not None and (count := sum(np.count_nonzero(sizes) for sizes in lost)):
            size = sum(int(sizes.sum()) for sizes in lost)
            found.append(
                f"{count:,} of {total:,} tokens stand for what the tokenizer does not know ({size:,} bytes): which "
                "bytes they are costs no bits, so the figure flatters"
            )
        if altered := sum(each.altered for each in readings):
            found.append(
                f"the tokenizer changes {altered} of {len(readings)} documents as it reads them; what it drops costs "
                "no bits, so the figure flatters"
            )
        return found

    def decode_utf8(self, ids: Iterable[int]) -> bytes:
        return self.decode(ids).encode("utf-8")

    def decode(self, ids: Iterable[int]) -> str:
        return self.engine.write([int(i) for i in ids])

    def to_json(self) -> bytes:
        return self.engine.saved()

    def _each(self, texts: Iterable[bytes]) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Each text, its ids, and where each ends in it, in characters."""
        for some in _batches(texts):
            pieces = [list(cut(text, MOST)) for text in some]
            try:
                found = iter(self.engine.read([piece for text in pieces for piece in text]))
            except Exception as error:  # the other libraries raise bare ones
                raise UsageError(f"the tokenizer cannot read this text: {str(error)[:200]}") from None
            for text, parts in zip(some, pieces):
                start, ids, ends = 0, [np.empty(0, self.dtype)], [np.empty(0, np.int64)]
                for part, (own, stops) in zip(parts, found):
                    ids.append(np.array(own, self.dtype))
                    ends.append(start + np.array(stops, np.int64))
                    start += len(part)
                yield text, np.concatenate(ids), np.concatenate(ends)


def _batches(texts: Iterable[bytes]) -> Iterator[list[str]]:
    """The texts, some at once."""
    some, size = list[str](), 0
    for text in texts:
        some.append(text.decode("utf-8"))
        size += len(some[-1])
        if size >= AT_ONCE:
            yield some
            some, size = [], 0
    if some:
        yield some


def _sizes(text: str, ends: np.ndarray) -> np.ndarray:
    """(N,) the bytes of a text that each token stands for; the last one has all that is left."""
    if not len(ends):
        return np.empty(0, "<u4")
    codes = np.frombuffer(text.encode("utf-32-le"), "<u4")
    widths = 1 + (codes >= 0x80).astype(np.int64) + (codes >= 0x800) + (codes >= 0x10000)
    spelt = np.concatenate([[0], np.cumsum(widths)])
    reached = np.maximum.accumulate(np.clip(ends, 0, len(text)))
    reached[-1] = len(text)
    return np.diff(spelt[reached], prepend=0).astype("<u4")
