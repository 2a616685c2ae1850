"""Train, tune and test: learning rates are chosen on tune, so that the figures on test were never used before."""

import hashlib
from itertools import accumulate, pairwise
from typing import NamedTuple

from blockyard.core.errors import UsageError

NAMES = ("train", "tune", "test")
RULE = 2  # raised when the same documents are split or ordered otherwise; part of the hash of a text
ENOUGH_DOCUMENTS = 20
Fractions = tuple[float, float, float]


class Parts(NamedTuple):
    """The documents of each split; `by` says how they were told apart: document or position.

    Train is in reading order. Held-out documents that were chosen by their hash stand in its order, so that neighbours
    on the test text have no more in common than any two documents.
    """

    train: list[bytes]
    tune: list[bytes]
    test: list[bytes]
    by: str


def split_documents(documents: list[bytes], fractions: Fractions = (0.9, 0.05, 0.05)) -> Parts:
    """Whole documents, chosen by the hash of their content, where there are enough; else cuts through the whole text.

    Equal documents always fall into the same split. Documents so uneven that a split would miss half its share are cut
    by position too.
    """
    if len(fractions) != 3 or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise UsageError(f"fractions {fractions} must be three positive numbers that sum to 1: train, tune, test")
    return _by_document(documents, fractions) or _by_position(documents, fractions)


def _by_document(documents: list[bytes], fractions: Fractions) -> Parts | None:
    digests = [hashlib.sha256(d).digest() for d in documents]
    sizes: dict[bytes, int] = {}
    for digest, document in zip(digests, documents):
        sizes[digest] = sizes.get(digest, 0) + len(document)
    if len(sizes) < ENOUGH_DOCUMENTS:
        return None
    total = sum(sizes.values())
    goal: dict[str, float] = {name: total * f for name, f in zip(NAMES, fractions)}
    have: dict[str, int] = dict.fromkeys(NAMES, 0)
    split_of: dict[bytes, str] = {}
    for digest in sorted(sizes):
        size = sizes[digest]
        # A held-out split takes the document when that brings it nearer its share.
        nearer = (n for n in ("test", "tune") if abs(have[n] + size - goal[n]) < goal[n] - have[n])
        split_of[digest] = name = next(nearer, "train")
        have[name] += size
    if any(have[n] < goal[n] / 2 for n in NAMES):
        return None
    lists = {n: [d for d, digest in zip(documents, digests) if split_of[digest] == n] for n in NAMES}
    for held in ("tune", "test"):
        lists[held].sort(key=lambda document: hashlib.sha256(document).digest())
    return Parts(lists["train"], lists["tune"], lists["test"], "document")


def _by_position(documents: list[bytes], fractions: Fractions) -> Parts:
    text = b"".join(documents)
    most = int(len(text) * min(fractions)) // 4
    first = _near_newline(text, round(len(text) * fractions[0]), most)
    second = _near_newline(text, round(len(text) * (fractions[0] + fractions[1])), most)
    edges = [0, first, second, len(text)]
    ends = list(accumulate(map(len, documents)))
    train, tune, test = ([text[a:b] for a, b in _inside(ends, lo, hi)] for lo, hi in pairwise(edges))
    if not (train and tune and test):
        raise UsageError(f"{len(text)} bytes cannot be split by {fractions}: a part would be empty; give more text")
    return Parts(train, tune, test, "position")


def _near_newline(text: bytes, at: int, most: int) -> int:
    """The place nearest to `at` that follows a newline, else the start of the character there."""
    before = text.rfind(b"\n", max(at - most, 0), at) + 1
    after = text.find(b"\n", at, at + most) + 1
    near = [cut for cut in (before, after) if cut]
    if near:
        return min(near, key=lambda cut: abs(cut - at))
    while at < len(text) and text[at] & 0xC0 == 0x80:
        at += 1
    return at


def _inside(ends: list[int], lo: int, hi: int) -> list[tuple[int, int]]:
    """The pieces of documents (given by their ends) that lie in [lo, hi)."""
    spans = zip([0, *ends], ends)
    return [(max(a, lo), min(b, hi)) for a, b in spans if max(a, lo) < min(b, hi)]
