"""Name hidden tokens of a text from what stands on both sides of them.

    loss = bits per hidden token of text that no training step saw, in groups of contiguous text

Which tokens of a test are hidden follows from its text alone, the same for every model and at every length; each is
shown as the mask. Models train on what their own objective hides, or on the same share where they have none.

Shapes   tokens, targets (n,T) int64, targets -1 where nothing is hidden
Source   arXiv 1810.04805    Family  text
Differs  a hidden token of a test is always shown as the mask
"""

from typing import Annotated

from blockyard.core.errors import UsageError
from blockyard.core.settings import Share
from blockyard.data.corpus import Corpus
from blockyard.data.mixed import Mixed
from blockyard.task._base import DataTask
from blockyard.task._hidden import HiddenText


class MaskedTokens(DataTask):
    of = ("corpus",)
    learns = "masked tokens"
    variants = ({}, dict(share=0.3))

    def __init__(self, *, share: Annotated[Share, "of the tokens, how many are hidden"] = 0.15) -> None:
        self.share = share

    def material(self, data: Corpus | Mixed) -> HiddenText:
        if isinstance(data, Mixed):
            raise UsageError("--task mlm is asked of one text: name its files without shares")
        return HiddenText(data, self.share)
