"""Texts of which something is asked inside: a tag for every word, or where the answer to a question stands."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from blockyard.core.errors import UsageError
from blockyard.data.table import Table

SHARES = {"test": 0.15, "tune": 0.15, "train": 0.70}


@dataclass(frozen=True, eq=False)
class Tagged:
    """Sentences, the words of each, and a tag for every word. `codec`: how words become ids."""

    name: str
    words: Sequence[tuple[str, ...]]
    tags: Sequence[tuple[str, ...]]
    codec: str = "bytes"
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.words)

    @property
    def hash(self) -> str:
        """What names the sentences and their tags."""
        return digest([self.words, self.tags])

    def usually(self) -> str:
        """The task that such sentences are for where none is named."""
        return "tagging"


@dataclass(frozen=True, eq=False)
class Questions:
    """Texts, a question about each, and the place of the answer in it: the first character and the one behind it."""

    name: str
    contexts: Sequence[str]
    questions: Sequence[str]
    places: Sequence[tuple[int, int]]
    codec: str = "bytes"
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.contexts)

    @property
    def hash(self) -> str:
        """What names the texts, the questions and the answers."""
        return digest([self.contexts, self.questions, self.places])

    def usually(self) -> str:
        """The task that questions are for where none is named."""
        return "span"


@dataclass(frozen=True, eq=False)
class Rows:
    """A table with columns of texts, and how these become ids."""

    table: Table
    codec: str = "bytes"

    @property
    def name(self) -> str:
        """That of the table."""
        return self.table.name

    @property
    def hash(self) -> str:
        """That of the table."""
        return self.table.hash

    def usually(self) -> str:
        """The task that columns of texts are for where none is named."""
        return "pairs"


def digest(value: object) -> str:
    """The sha256 of what texts hold."""
    return hashlib.sha256(repr(value).encode("utf-8", "surrogatepass")).hexdigest()


def held_out(name: str, keys: Sequence[object]) -> dict[str, np.ndarray]:
    """The places of each part by name, in the order of the hashes of their keys; equal keys stay on one side."""
    hashes = np.array([digest(key) for key in keys])
    order = np.argsort(hashes, kind="stable")
    names, unit = np.unique(hashes, return_inverse=True)
    parts, low = {}, 0.0
    for part, share in SHARES.items():
        place = (unit[order] + 0.5) / len(names)
        parts[part] = order[(place > low) & (place <= low + share)]
        low += share
        if not len(parts[part]):
            raise UsageError(f"{name} has {len(keys)} rows, too few to hold a {part} part out; give more")
    return parts
