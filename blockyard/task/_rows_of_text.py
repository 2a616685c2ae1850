"""Texts as rows of ids: one after another with a mark between them, padded on the right; where words end in them."""

from collections.abc import Iterable, Sequence

import numpy as np

from blockyard.data.rows import Arrays
from blockyard.data.tokens import Bpe, Bytes, Codec, parse_codec

TOKENS = 256  # of a row, at most, where nobody says how many
MOST = 0.95  # the share of rows that are read to their end


def learned(codec: str, texts: Iterable[bytes]) -> Codec:
    """The codec of this name, learned from these texts where it learns."""
    vocab = parse_codec(codec)
    return Bytes() if vocab is None else Bpe.train(list(texts), vocab)


def width(sizes: Sequence[int] | np.ndarray, length: int | None) -> int:
    """How many ids a row has: as many as all but the longest twentieth, and at most TOKENS, unless it is said."""
    share = MOST if length is None else 1.0
    return int(min(length or TOKENS, max(1, np.ceil(np.quantile(np.asarray(sizes), share)))))


def of_words(codec: Codec, sentences: Iterable[Sequence[str]]) -> list[tuple[np.ndarray, np.ndarray]]:
    """The ids of each sentence, its words with spaces between them, and at which id each word ends."""
    found = []
    for words in sentences:
        pieces = list(codec.encode_each([(" " * (i > 0) + word).encode() for i, word in enumerate(words)]))
        ends = np.cumsum([len(piece) for piece in pieces]) - 1
        found.append((np.concatenate(pieces).astype(np.int64), ends))
    return found


def joined(first: np.ndarray, second: np.ndarray, mark: int, most: int) -> tuple[np.ndarray, int]:
    """Two texts with a mark between them, in at most so many ids, and where the second begins.

    Where they are longer, the longer one is cut until both are as long; then both are.
    """
    room = most - 1
    mine = min(len(first), max(room - len(second), room // 2))
    theirs = min(len(second), room - mine)
    return np.concatenate([first[:mine], [mark], second[:theirs]]).astype(np.int64), mine + 1


def padded(rows: Sequence[np.ndarray], most: int, begins: Sequence[int] | None = None) -> Arrays:
    """tokens, valid (n,T) and, of two texts a row, the kind of each token: 1 from where the second begins."""
    sizes = np.array([min(len(row), most) for row in rows])
    tokens = np.zeros((len(rows), most), np.int64)
    for into, row in zip(tokens, rows):
        into[: len(row)] = row[:most]
    place = np.arange(most)
    found: Arrays = {"tokens": tokens, "valid": place < sizes[:, None]}
    if begins is not None:
        found["kinds"] = ((place >= np.array(begins)[:, None]) & found["valid"]).astype(np.int64)
    return found


def places(codec: Codec, text: str, at: tuple[int, int]) -> tuple[np.ndarray, tuple[int, int]]:
    """The ids of a text, and the first and the last id that have a part of the characters from `at[0]` to `at[1]`."""
    ids = codec.encode(text).astype(np.int64)
    low, high = (len(text[:end].encode()) for end in at)
    ends = np.cumsum(codec.token_bytes[ids])
    return ids, (int(np.searchsorted(ends, low, "right")), int(np.searchsorted(ends, high, "left")))
