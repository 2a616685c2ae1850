"""Hide some vectors of a row and ask for their numbers; zeros are shown instead.

    round(share T) of the T tokens that count are hidden        shown_t = 0 where hidden, f_t elsewhere

Shapes   frames (B,T,C), targets (B,T,C), not a number where nothing is asked
Source   arXiv 2111.06377    Family  objective
Differs  vectors in place of patches
"""

from typing import Annotated

import torch
from torch import Tensor

from blockyard.core import Batch, Corruption, Site
from blockyard.core.part import Draws
from blockyard.core.settings import Channels, Share
from blockyard.parts.corrupt._hide import asked, hidden


class Frames(Corruption):
    variants = ({}, dict(share=0.3, channels=3))

    def __init__(
        self, site: Site, *, share: Annotated[Share, "of the tokens, how many are hidden"] = 0.5, channels: Channels = 1
    ) -> None:
        super().__init__()
        self.share, self.numbers = share, channels

    def example(self, rows: int, length: int, draw: torch.Generator) -> Batch:
        return Batch(torch.randn(rows, length, self.numbers, generator=draw))

    def forward(self, batch: Batch, draw: Draws) -> Batch:
        where = hidden(batch, (batch.tokens.shape[0], batch.tokens.shape[1]), self.share, draw)
        return asked(batch, batch.tokens, where, batch.tokens.masked_fill(where[..., None], 0))

    def cells(self, tokens: Tensor) -> Tensor:
        return tokens
