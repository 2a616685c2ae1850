"""Name the tag of every word of a sentence, such as its part of speech or what kind of name it is.

    error = the share of held-out words that get another tag than theirs; macro-F1 over tags beside it

A word is asked at its last id, where a model that reads from left to right has seen all of it. Sentences are held out
by the hash of what stands in them: equal ones stay on one side.

Shapes   tokens (n,T) int64, valid (n,T); targets (n,T) int64, -1 but at the last id of a word
Source   none    Family  text
Differs  tags that span words, such as B-PER I-PER, are scored word by word
"""

from typing import Annotated

from blockyard.core.settings import Count
from blockyard.data.annotated import Tagged
from blockyard.task._base import DataTask
from blockyard.task._tags import Tags


class Tagging(DataTask):
    of = ("tagged",)
    variants = ({}, dict(length=24))

    def __init__(
        self, *, length: Annotated[Count, "most ids of a sentence; none: as many as most have, 256 at most"]
        | None = None,
        rows: Annotated[Count, "how many sentences train at most; none: all that are not held out"] | None = None,
    ) -> None:  # fmt: skip
        self.length, self.rows = length, rows

    def material(self, data: Tagged) -> Tags:
        return Tags(repr(self), data, self.length, self.rows)
