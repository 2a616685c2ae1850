"""Which rows of a table train and which are scored, by what stands in them: equal rows are never parted.

A row is known by the hash of its cells, so it stays on its side whatever order the file has. Where most rows repeat
others (few columns of few words), equal rows are other things that look alike, and each is drawn by itself.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

STRIDE = 0x9E3779B97F4A7C15
SHARES = {"test": 0.2, "tune": 0.1}  # of the rows; the rest trains


class Parted(NamedTuple):
    """The rows of each split, in the order of their hashes, and how many rows repeat another one."""

    rows: dict[str, np.ndarray]
    repeats: int
    alone: bool  # whether equal rows were drawn each by itself


def keys(columns: Sequence[np.ndarray]) -> np.ndarray:
    """(n,) uint64 that are equal where all cells of these plain columns are."""
    key = np.zeros(len(columns[0]), np.uint64)
    for place, values in enumerate(columns):
        key = _mixed(key + np.uint64((place + 1) * STRIDE % 2**64) ^ _hashes(values))
    return key


def parted(columns: Sequence[np.ndarray]) -> Parted:
    """The splits of the rows of these plain columns."""
    key = keys(columns)
    repeats = len(key) - len(np.unique(key))
    alone = 2 * repeats > len(key)
    if alone:
        key = _mixed(key ^ _mixed(np.arange(len(key), dtype=np.uint64) + np.uint64(1)))
    order = np.argsort(key, kind="stable")
    _, unit, counts = np.unique(key, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)[unit[order]] / len(key)  # where the last equal row stands
    rows, low = {}, 0.0
    for split, share in SHARES.items():
        rows[split] = order[(ends > low) & (ends <= low + share)]
        low += share
    return Parted({**rows, "train": order[ends > low]}, repeats, alone)


def _hashes(values: np.ndarray) -> np.ndarray:
    """uint64 of every cell."""
    if values.dtype.kind == "f":
        return _mixed(np.where(np.isnan(values), 0.5**1000, values + 0.0).view(np.uint64))
    known = {None: 1}
    for word in dict.fromkeys(values):
        if word is not None:
            digest = hashlib.sha256(word.encode("utf-8", "surrogatepass")).digest()
            known[word] = int.from_bytes(digest[:8], "little")
    return np.array([known[word] for word in values], np.uint64)


def _mixed(key: np.ndarray) -> np.ndarray:
    """Every bit of a uint64 spread over all of them."""
    with np.errstate(over="ignore"):
        key = (key ^ key >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        key = (key ^ key >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
        return key ^ key >> np.uint64(31)
