"""Predict every token of a text from those before it.

    loss = bits per byte of text that no training step saw, in 32 groups of contiguous text

Of texts mixed by shares (`a.txt@0.7`) the loss of each is weighed by its share, and stands beside it.

Shapes   tokens, targets (n,T) int64, targets -1 where nothing is asked
Source   none    Family  text
Differs  nothing known
"""

from blockyard.data.corpus import Corpus
from blockyard.data.mixed import Mixed
from blockyard.task._base import DataTask
from blockyard.task._mixed import MixedText
from blockyard.task._text import Text


class NextToken(DataTask):
    of = ("corpus",)

    def material(self, data: Corpus | Mixed) -> Text | MixedText:
        return MixedText(data) if isinstance(data, Mixed) else Text(data)
