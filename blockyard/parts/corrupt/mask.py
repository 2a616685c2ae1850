"""Ask for some tokens, each by itself: most are shown as a mask, some as another token, some as they are.

    asked_t with probability share        shown_t = mask | another token | x_t  with hidden | swapped | the rest

Shapes   tokens, targets (B,T), a target of -1 where nothing is asked
Source   arXiv 1810.04805    Family  objective
Differs  how many tokens of a row are asked is drawn, not fixed
"""

from typing import Annotated

from blockyard.core import Batch, Corruption, Site
from blockyard.core.part import Draws
from blockyard.core.settings import Fraction, MaskId, Share, Vocab
from blockyard.parts.corrupt._replace import Shown, askable


class Mask(Corruption):
    variants = ({}, dict(share=0.3, hidden=1.0, swapped=0.0), dict(hidden=0.0, swapped=1.0, vocab=5, mask=2))

    def __init__(
        self, site: Site, *, share: Annotated[Share, "of the tokens, how many are asked"] = 0.15,
        hidden: Annotated[Fraction, "of those asked, how many are shown as the mask"] = 0.8,
        swapped: Annotated[Fraction, "of those asked, how many are shown as another token"] = 0.1,
        vocab: Vocab = 257, mask: MaskId | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.share, self.shown = share, Shown.of(site, hidden, swapped, vocab, mask)

    def forward(self, batch: Batch, draw: Draws) -> Batch:
        shape = tuple(batch.tokens.shape)
        asked = (draw("asked", shape) < self.share) & askable(batch)
        return self.shown.instead(batch, asked, draw("which", shape), draw("what", shape))
