"""Evaluation windows: every id of a split is predicted exactly once, and the losses are kept by block group.

The split is cut into G contiguous groups of nearly equal bytes, at the border of a document where one is near. Losses
of neighbouring windows are correlated; a group is large enough to count as one independent piece of text.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from blockyard.core.errors import UsageError
from blockyard.data.shards import Split

FEW = 8  # with fewer groups the spread over text cannot be estimated
SNAP = 0.25  # how far, in parts of a group, a cut moves to reach the border of a document


class EvalBatch(NamedTuple):
    """tokens (n, T+1) int64, padded with 0; valid (n, T) true where column t+1 is a target that counts; group (n,)."""

    tokens: np.ndarray
    valid: np.ndarray
    group: np.ndarray


@dataclass(frozen=True, eq=False)
class EvalWindows:
    """Windows over a split. Window i predicts ids first[i] to last[i] - 1, at most T of them, from those before each.

    first, last, group (W,); bytes (G,) of the groups' targets; weights (G,) their shares, of sum 1.
    """

    split: Split
    length: int
    first: np.ndarray
    last: np.ndarray
    group: np.ndarray
    bytes: np.ndarray
    weights: np.ndarray

    def __len__(self) -> int:
        return len(self.first)

    @cached_property
    def asked(self) -> np.ndarray | None:
        """(N,) which ids of the split are to be foretold; None where all are."""
        return self.split.asked()

    @property
    def groups(self) -> int:
        """How many block groups there are."""
        return len(self.bytes)

    @property
    def note(self) -> str | None:
        """What the report must say when the text was too short for enough groups."""
        if self.groups >= FEW:
            return None
        return (
            f"only {self.groups} block groups (fewer than {FEW}): the {self.split.name} split has {len(self.split)} "
            f"tokens at length {self.length}, so the uncertainty from the choice of text is not counted"
        )

    def rows(self, index: np.ndarray | slice) -> EvalBatch:
        """The windows of an index array or slice."""
        first, last = self.first[index], self.last[index]
        position = first[:, None] - 1 + np.arange(self.length + 1)
        there = position < last[:, None]
        place = np.minimum(position, len(self.split) - 1)
        tokens, asked = np.asarray(self.split.tokens[place], np.int64), there[:, 1:]
        if self.asked is not None:
            asked = asked & self.asked[place[:, 1:]]
        return EvalBatch(np.where(there, tokens, 0), asked, self.group[index])

    def batches(self, size: int, rank: int = 0, world: int = 1) -> Iterator[EvalBatch]:
        """All windows in order, `size` at a time, the last one shorter; one of N processes gets windows rank::world."""
        mine = np.arange(rank, len(self), world)
        for start in range(0, len(mine), size):
            yield self.rows(mine[start : start + size])

    def bits_per_byte(self, nats: np.ndarray) -> np.ndarray:
        """(G,) bits per byte of the groups, from every window's summed loss in nats, (W,) in window order."""
        sums = np.bincount(self.group, np.asarray(nats, np.float64), self.groups)
        return sums / (math.log(2) * self.bytes)


def eval_windows(split: Split, length: int, groups: int = 32) -> EvalWindows:
    """Cover every id but the very first once as a target, in windows of at most `length` targets, in block groups.

    What stands before every document and says nothing of it is context, never a target that counts.

    No window has targets in two groups; a group's first window reads the id before it as context. Each group is to have
    length + 1 ids or more: a short text gets fewer groups, and `note` says so below 8.
    """
    count = len(split)
    if length < 1 or groups < 1:
        raise UsageError(f"length {length} and groups {groups} must be at least 1")
    if count < 2:
        raise UsageError(f"the {split.name} split has {count} token and needs at least 2; give more text")
    ends = np.cumsum(split.spelt())
    cuts = _cuts(split, ends, max(1, min(groups, (count - 1) // (length + 1))))
    first = [np.arange(lo, hi, length) for lo, hi in pairwise(cuts)]
    last = [np.minimum(f + length, hi) for f, hi in zip(first, cuts[1:])]
    group = np.repeat(np.arange(len(first)), [len(f) for f in first])
    size = np.diff(ends[cuts - 1])
    return EvalWindows(split, length, np.concatenate(first), np.concatenate(last), group, size, size / size.sum())


def _cuts(split: Split, ends: np.ndarray, groups: int) -> np.ndarray:
    """Ids where the groups begin, and the end: G + 1 indices from 1 to N."""
    count = len(split)
    starts = ends - split.spelt()
    share = (ends[-1] - ends[0]) / groups
    ideal = ends[0] + share * np.arange(1, groups)
    cuts = np.searchsorted(starts, ideal)
    borders = np.asarray(split.offsets[1:-1])
    if len(borders):
        after = np.searchsorted(starts[borders], ideal).clip(1, max(len(borders) - 1, 1))
        pair = borders[np.stack([after - 1, np.minimum(after, len(borders) - 1)])]
        away = np.abs(starts[pair] - ideal)
        nearest = np.take_along_axis(pair, away.argmin(0)[None], 0)[0]
        cuts = np.where(away.min(0) <= SNAP * share, nearest, cuts)
    # A very long token may swallow two cuts: then there is a group less.
    return np.unique(np.concatenate([[1], cuts.clip(2, count - 1), [count]]) if count > 2 else np.array([1, count]))
