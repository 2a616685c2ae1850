"""Texts mixed by shares: a corpus each, one codec, and rows drawn from each as often as its share says.

A row of training is of one text. In every CYCLE rows each text has its share of them exactly, in an order that the seed
and the number of the cycle decide; the rows of one text go on in that text's own order. So the batch of a step is a
function of the seed and the step, whatever was asked before, and the text of a small share is not read more often.

    rows.txt@0.7   the share stands behind the path
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np

from blockyard.core.errors import UsageError
from blockyard.core.files import cache_root, write_whole
from blockyard.core.random import fold
from blockyard.data.corpus import LINE, OVERLAP, Corpus, load_text
from blockyard.data.order import TrainOrder
from blockyard.data.rows import permutation
from blockyard.data.shards import Split
from blockyard.data.split import NAMES
from blockyard.data.tokens import Bpe, Codec, learner, load_codec, parse_codec

CYCLE = 1000  # rows in which shares are kept exactly


@dataclass(frozen=True, eq=False)
class Mixed:
    """Texts and the share of the rows that each has. `hash` names the texts, their splits and their shares."""

    parts: tuple[Corpus, ...]
    shares: tuple[float, ...]
    notes: tuple[str, ...] = ()

    @property
    def codec(self) -> Codec:
        """The codec of all."""
        return self.parts[0].codec

    @property
    def name(self) -> str:
        """The names of all, with their shares."""
        return " + ".join(f"{share:.4g} {name}" for name, share in zip(self.names, self.shares))

    @property
    def names(self) -> list[str]:
        """A name for each, no two alike."""
        met: Counter[str] = Counter()
        found = []
        for part in self.parts:
            met[part.name] += 1
            found.append(part.name if met[part.name] == 1 else f"{part.name} ({met[part.name]})")
        return found

    @property
    def hash(self) -> str:
        """What names the texts, their splits and their shares."""
        told = json.dumps(["mixed", CYCLE, [part.hash for part in self.parts], self.shares])
        return hashlib.sha256(told.encode()).hexdigest()

    @property
    def bytes(self) -> dict[str, int]:
        """Bytes of text in each split, of all texts."""
        return {name: sum(part.bytes[name] for part in self.parts) for name in NAMES}

    def usually(self) -> str:
        """The task that texts are for where none is named."""
        return "next_token"

    def summary(self) -> str:
        """One line for the plan."""
        told = [f"{share:.1%} of the rows from {part.summary()}" for part, share in zip(self.parts, self.shares)]
        return f"{len(told)} texts mixed (sha256 {self.hash[:12]}): {'; '.join(told)}"


def shared(paths: Sequence[str]) -> dict[str, float] | None:
    """The shares of these paths, `path@share`; None where none has one. A file that is called so is a file."""
    found: dict[str, float] = {}
    for path in paths:
        plain, at, share = path.rpartition("@")
        if not at or not plain or os.path.exists(path):
            continue
        try:
            number = float(share)
        except ValueError:
            continue
        if plain in found:
            raise UsageError(f"{plain} has two shares; name each text once")
        found[plain] = number
    if not found:
        return None
    bare = [path for path in paths if path.rpartition("@")[0] not in found]
    if bare:
        raise UsageError(f"{bare[0]} has no share, and others have one; write {bare[0]}@0.5, say, or none at all")
    if len(found) < 2:
        raise UsageError(f"{next(iter(found))}: a share is of several texts; name another one, or leave the share out")
    low = min(found.values())
    if abs(sum(found.values()) - 1) > 1e-6 or low < 1 / CYCLE:
        said = " + ".join(f"{share:g}" for share in found.values())
        raise UsageError(f"the shares {said} must sum to 1, and each be {1 / CYCLE} or more")
    return found


def load_mixed(shares: dict[str, float], codec: str = "bytes", cache: str | os.PathLike[str] | None = None) -> Mixed:
    """The texts of these paths, each split by itself, with one codec, learned from what all of them train on."""
    vocab = parse_codec(codec)
    parts = [load_text([path], codec="bytes", cache=cache) for path in shares]
    notes = [*(note for part in parts for note in part.notes), *_overlap(parts)]
    if vocab is not None:
        learned = _learned(parts, vocab, cache_root(cache))
        parts = [load_text([path], codec=learned, cache=cache) for path in shares]
        if learned.vocab < vocab:
            notes.append(f"the texts yield only {learned.vocab} of the {vocab} BPE tokens asked for")
    return Mixed(tuple(parts), tuple(shares.values()), tuple(dict.fromkeys(notes)))


def _learned(parts: Sequence[Corpus], vocab: int, root: Path | None) -> Codec:
    """The codec of what all texts train on, each counted as it is large; kept, so that no other process learns it."""
    key = json.dumps(["mixed", [part.hash for part in parts], vocab, learner(vocab)])
    file = None if root is None else root / "mixed" / hashlib.sha256(key.encode()).hexdigest()[:32] / "tokenizer.json"
    if file is not None and file.exists():
        return load_codec(file)
    found = Bpe.train([text for part in parts for text in _documents(part.train)], vocab)
    if file is not None:
        try:
            write_whole(file, found.to_json())
        except OSError:
            return found  # a cache costs time, never the run
    return found


def _documents(split: Split) -> list[bytes]:
    """The documents of a split whose ids are bytes."""
    return [bytes(split.tokens[a:b].astype(np.uint8)) for a, b in pairwise(split.offsets)]


def _overlap(parts: Sequence[Corpus]) -> list[str]:
    """Notes where much of the test of one text stands in what another one trains on, line by line."""
    lines = {
        split: [{line for text in _documents(getattr(part, split)) for line in text.split(b"\n") if len(line) >= LINE}
                for part in parts]
        for split in ("train", "test")
    }  # fmt: skip
    notes = []
    for i, test in enumerate(lines["test"]):
        for j, train in enumerate(lines["train"]):
            total, again = sum(map(len, test)), sum(map(len, test & train))
            if i != j and total and again / total >= OVERLAP:
                share, names = again / total, (parts[i].name, parts[j].name)
                notes.append(
                    f"{share:.0%} of the long lines of the test of {names[0]} stand word for word in what {names[1]} "
                    f"trains on: the figures flatter memory"
                )
    return notes


@dataclass(frozen=True, eq=False)
class MixedOrder:
    """The rows of a mixture: `next(step)` gives the batch of that step, whatever was asked before.

    orders   a batch of one row for every step, of each text        shares   of the rows
    """

    orders: tuple[TrainOrder, ...]
    shares: tuple[float, ...]
    batch: int
    seed: int
    _cycles: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict, repr=False)

    @staticmethod
    def of(splits: Sequence[Split], shares: Sequence[float], length: int, batch: int, seed: int) -> "MixedOrder":
        """The order of windows of these splits."""
        orders = (TrainOrder(split, length, 1, fold("mixed", seed, i)) for i, split in enumerate(splits))
        return MixedOrder(tuple(orders), tuple(shares), batch, seed)

    def next(self, step: int) -> np.ndarray:
        """The ids of a step, int64 (B, T+1)."""
        rows = range(step * self.batch, (step + 1) * self.batch)
        return np.concatenate([self.orders[source].next(place) for source, place in map(self.drawn, rows)])

    def drawn(self, row: int) -> tuple[int, int]:
        """Which text a row is of, and how many rows of that text came before it."""
        cycle, at = divmod(row, CYCLE)
        source, before = self._cycle(cycle)
        found = int(source[at])
        return found, cycle * int((source == found).sum()) + int(before[at])

    def _cycle(self, cycle: int) -> tuple[np.ndarray, np.ndarray]:
        """(CYCLE,) the text of each row of a cycle, and how many of its rows came before it there."""
        if cycle not in self._cycles:
            for old in [c for c in self._cycles if c != cycle - 1]:
                del self._cycles[old]
            source = np.repeat(np.arange(len(self.shares)), _counts(self.shares))
            source = source[permutation(CYCLE, fold("mixed", self.seed), cycle)]
            here = source == np.arange(len(self.shares))[:, None]
            self._cycles[cycle] = source, (here.cumsum(1) - here)[source, np.arange(CYCLE)]
        return self._cycles[cycle]


def _counts(shares: Sequence[float]) -> np.ndarray:
    """How many rows of a cycle each text has: the largest remainders are rounded up."""
    exact = np.array(shares) * CYCLE
    counts = np.floor(exact + 1e-9).astype(np.int64)
    short = np.argsort(counts - exact, kind="stable")[: CYCLE - counts.sum()]
    counts[short] += 1
    return counts
