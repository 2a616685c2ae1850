"""Name the class of images, sounds, texts or vectors.

    error = the share of held-out things that get another class than theirs

Shapes   images (n,H,W,C), samples (n,S), ids (n,T) or frames (n,T,C); targets (n,) int64
Source   none    Family  items
Tags     serves=classification
Differs  nothing known
"""

from typing import Annotated

from blockyard.core.settings import Count, Fraction, Word
from blockyard.data.items import Items
from blockyard.task._base import DataTask
from blockyard.task._labelled import Labelled


class Classify(DataTask):
    of = ("items",)

    def __init__(
        self, *, label: Annotated[Word, "the field that is the class; none: as the data say"] | None = None,
        unit: Annotated[Word, "the field whose values are never split, such as speaker"] | None = None,
        test: Annotated[Word, "which are held out, as n<5 or split=test; none: by hash"] | None = None,
        size: Annotated[Count, "pixels of an image's longer side; none: at most 64"] | None = None,
        patch: Annotated[Count, "pixels of an image's patches; none: so that there are at most 64"] | None = None,
        length: Annotated[Count, "most tokens of a thing; none: 64 of an image, 128 of a sound, 256 of a text"]
        | None = None,
        only: Annotated[Word, "which things are taken at all, as class<5; none: all"] | None = None,
        rows: Annotated[Count, "how many things train at most; none: all that are not held out"] | None = None,
        noise: Annotated[Fraction, "the share of those that train whose class is drawn anew, among all"] = 0.0,
    ) -> None:  # fmt: skip
        self.label, self.unit, self.test, self.only, self.rows = label, unit, test, only, rows
        self.size, self.patch, self.length, self.noise = size, patch, length, noise

    def material(self, data: Items) -> Labelled:
        items = data.by(self.label, self.unit, self.test)
        items = items if self.only is None else items.only(self.only)
        sized = items if self.size is None else items.sized(self.size)
        return Labelled(repr(self), sized, self.patch, self.length, self.rows, self.noise)
