"""Point at the answer to a question in a text: its first and its last token.

    error       the share of held-out questions whose answer is not said word for word
    token F1    of the words that are said and those of the answer, the mean over questions

A row is the question, a mark, and the text. Case, marks of punctuation and the words a, an and the do not count. Texts
are held out by their hash: all questions about one stand on one side.

Shapes   tokens, kinds (n,T) int64, kinds 1 in the text; valid (n,T); targets (n,2) first and last token
Source   arXiv 1606.05250    Family  text
Differs  the question comes first, so that a model that reads from left to right knows it; one answer a question
"""

from typing import Annotated

from blockyard.core.settings import Count
from blockyard.data.annotated import Questions
from blockyard.task._base import DataTask
from blockyard.task._spans import Spans


class Span(DataTask):
    of = ("questions",)
    variants = ({}, dict(length=64, longest=24))

    def __init__(
        self, *, length: Annotated[Count, "most ids of question and text; none: as many as most have, 256 at most"]
        | None = None,
        longest: Annotated[Count, "most ids of an answer that is said; none: as many as the longest that trains"]
        | None = None,
    ) -> None:  # fmt: skip
        self.length, self.longest = length, longest

    def material(self, data: Questions) -> Spans:
        return Spans(repr(self), data, self.length, self.longest)
