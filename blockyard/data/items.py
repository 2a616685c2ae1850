"""Things with a label each: images, sounds, texts or vectors, in memory or read as they are asked for."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np

from blockyard.core.errors import UsageError, unknown
from blockyard.data.rows import Arrays, Rows

KINDS = ("images", "sounds", "texts", "pairs", "vectors")
KEPT = 1 << 28  # bytes of things that were read once and are kept
Fields = Mapping[str, np.ndarray]


@runtime_checkable
class Sized(Rows, Protocol):
    """Rows of images that can be had in other sizes; `note` says what is done to them."""

    note: str

    def sized(self, side: int) -> Rows: ...


@dataclass(frozen=True, eq=False)
class Items:
    """Labelled things of one kind.

    hash      of all things, their labels and names           kind      images, sounds, texts, pairs or vectors
    rows      "tokens": images (n,H,W,C) in [0,1], sounds (n,S) in [-1,1] padded on the right with "valid" (n,S),
              texts (n,) as bytes of UTF-8, pairs (n,) of such texts, vectors (n,C)
    labels    (n,) the class of each, by its place in `classes`, which are in the order that they are shown in; (0,)
              where nobody says which field is the class
    names     of the things, such as their files: all different
    unit      (n,) what belongs together and must not be split, such as a speaker: numbers; None: each stands alone
    test      (n,) true where whoever published the data holds it out; None: nothing is said
    rate      samples a second, of sounds                     fields    what else is known of each, by name: words (n,)
    codec     how texts become ids: bytes, or bpe:N
    """

    name: str
    hash: str
    kind: str
    rows: Rows
    labels: np.ndarray
    classes: Sequence[str]
    names: Sequence[str]
    unit: np.ndarray | None = None
    test: np.ndarray | None = None
    rate: float | None = None
    fields: Fields = field(default_factory=dict)
    codec: str = "bytes"
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def usually(self) -> str:
        """The task that such things are for where none is named."""
        return "classify"

    def by(self, label: str | None = None, unit: str | None = None, test: str | None = None) -> "Items":
        """The same things, with another field as the class, with what belongs together, and with what is held out.

        test   a condition on a field, such as `n<5`, `fold=3` or `split=test`
        """
        changed: dict[str, Any] = {}
        if label is not None:
            changed["labels"], changed["classes"] = labelled(self.name, self.kind, self._field(label))
        elif not len(self.labels):
            raise UsageError(
                f"{self.name} does not say which column is the class: --task classify:label=COLUMN\n"
                f"columns: {', '.join(list(self.fields)[:12])}"
            )
        if unit is not None:
            changed["unit"] = numbered(self._field(unit))[0]
        if test is not None:
            changed["test"] = self._meets(test, "test")
        return replace(self, **changed) if changed else self

    def sized(self, side: int) -> "Items":
        """The same images with so many pixels along their longer side."""
        if self.kind != "images" or not isinstance(self.rows, Sized):
            raise UsageError(f"size={side}: {self.name} holds {self.kind} that are taken as they are; leave size out")
        return replace(self, rows=self.rows.sized(side))

    def only(self, condition: str) -> "Items":
        """The things of which a condition on a field holds, such as `class<5`, and the classes that they have."""
        kept = np.flatnonzero(self._meets(condition, "only"))
        held, labels = np.unique(self.labels[kept], return_inverse=True)
        return replace(
            self, name=f"{self.name} ({condition})", rows=Some(self.rows, kept), labels=labels,
            classes=[self.classes[label] for label in map(int, held)], names=[self.names[int(place)] for place in kept],
            unit=None if self.unit is None else self.unit[kept], test=None if self.test is None else self.test[kept],
            fields={name: words[kept] for name, words in self.fields.items()},
        )  # fmt: skip

    def _field(self, name: str) -> np.ndarray:
        if name == "class" and name not in self.fields and len(self.labels):
            return np.array(self.classes)[self.labels]
        if not self.fields:
            raise UsageError(
                f"{self.name} says nothing of its {self.kind} but their class, so there is no {name!r}; name a pattern "
                "such as 'FOLDER/{class}_{speaker}.wav', or a table with such a column"
            )
        if name not in self.fields:
            raise unknown(f"field of {self.name}", name, self.fields)
        return self.fields[name]

    def _meets(self, condition: str, asker: str) -> np.ndarray:
        """(n,) where a condition on a field holds."""
        found = re.fullmatch(r"\s*(.+?)\s*(<=|>=|!=|=|<|>)\s*(.+?)\s*", condition)
        if not found:
            shown = f"for example {asker}=n<5 or {asker}=split=test"
            raise UsageError(f"{asker}={condition} is no condition on a field; {shown}")
        name, sign, value = found.groups()
        words = self._field(name)
        if sign in ("=", "!="):
            holds = (words == value) == (sign == "=")
        else:
            try:
                numbers, bound = words.astype(float), float(value)
            except ValueError:
                raise UsageError(f"{asker}={condition}: {name} is not a number everywhere; compare it by =") from None
            holds = {"<": numbers < bound, "<=": numbers <= bound, ">": numbers > bound, ">=": numbers >= bound}[sign]
        if not holds.any():
            raise UsageError(f"{asker}={condition} holds for none of the {len(self)} {self.kind}")
        if holds.all():
            raise UsageError(
                f"{asker}={condition} holds for all {len(self)} {self.kind}, so that none is left beside them"
            )
        return holds


def numbered(words: Sequence[str] | np.ndarray) -> tuple[np.ndarray, list[str]]:
    """(n,) the place of each word among the different ones, and these: whole numbers by size, else by the alphabet."""
    names = sorted({str(word) for word in words}, key=_rank)
    place = {name: i for i, name in enumerate(names)}
    return np.array([place[str(word)] for word in words], np.int64), names


def _rank(word: str) -> tuple[int, int, str]:
    return (0, int(word), word) if word.isdecimal() else (1, 0, word)


def labelled(name: str, what: str, words: Sequence[str] | np.ndarray) -> tuple[np.ndarray, list[str]]:
    """The labels and classes of things that are to be told apart; refused where there is one class only."""
    labels, names = numbered(words)
    if len(names) < 2:
        raise UsageError(
            f"{name} has one class only ({names[0]}); {what} of at least two are needed to tell them apart"
        )
    return labels, names


@dataclass(frozen=True, eq=False)
class Some:
    """Some rows of others, by their places, with arrays of their own beside them."""

    rows: Rows
    places: np.ndarray
    beside: Fields = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.places)

    def take(self, index: Any) -> Arrays:
        """The arrays of the rows of an index or a slice."""
        places = self.places[index]
        return {**self.rows.take(places), **{name: values[places] for name, values in self.beside.items()}}


@dataclass(frozen=True, eq=False)
class Asked:
    """Rows that are read one by one when first asked for, and kept while there is room.

    count    how many there are            read   the numbers of one of them, as small as they can be kept
    finish   from those of many, stacked (b,...), and their places (b,) to arrays
    """

    count: int
    read: Callable[[int], np.ndarray]
    finish: Callable[[np.ndarray, np.ndarray], Arrays]
    _kept: dict[int, np.ndarray] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return self.count

    def take(self, index: Any) -> Arrays:
        """The arrays of the rows of an index or a slice."""
        places = np.atleast_1d(np.arange(self.count)[index])
        return self.finish(np.stack([self._one(int(place)) for place in places]), places)

    def _one(self, place: int) -> np.ndarray:
        if place in self._kept:
            return self._kept[place]
        found = self.read(place)
        if (len(self._kept) + 1) * found.nbytes <= KEPT:
            self._kept[place] = found
        return found
