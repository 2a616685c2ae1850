"""Predict every token of a text from those before it.

    loss = bits per byte of text that no training step saw, in 32 groups of contiguous text

Shapes   tokens, targets (n,T) int64, targets -1 where nothing is asked
Source   none    Family  text
Differs  nothing known
"""

from blockyard.data.corpus import Corpus
from blockyard.task._base import DataTask
from blockyard.task._text import Text


class NextToken(DataTask):
    of = ("corpus",)

    def material(self, data: Corpus) -> Text:
        return Text(data)
