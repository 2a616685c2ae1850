"""Things with a label each: images, sounds, texts or vectors, in memory or read as they are asked for."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from blockyard.data.rows import Rows

KINDS = ("images", "sounds", "texts", "vectors")


@dataclass(frozen=True, eq=False)
class Items:
    """Labelled things of one kind.

    hash      of all things, their labels and names           kind      images, sounds, texts or vectors
    rows      "tokens": images (n,H,W,C) in [0,1], sounds (n,S) in [-1,1] padded on the right with "valid" (n,S), ids
              (n,T) with "valid", vectors (n,C)
    labels    (n,) the class of each, by its place in `classes`, which are in the order that they are shown in
    names     of the things, such as their files
    unit      (n,) what belongs together and must not be split, such as a speaker: numbers; None: each stands alone
    test      (n,) true where whoever published the data holds it out; None: nothing is said
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
    rate: float | None = None  # samples a second, of sounds
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def usually(self) -> str:
        """The task that such things are for where none is named."""
        return "classify"
