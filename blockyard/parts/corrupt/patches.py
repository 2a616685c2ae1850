"""Hide some square patches of an image and ask for their pixels; zeros are shown instead.

    round(share N) of the N patches are hidden        shown = 0 in these, the image elsewhere

Shapes   images (B,H,W,C), targets (B,N,P P C), N = (H/P) (W/P), not a number where nothing is asked
Source   arXiv 2111.06377    Family  objective
Differs  pixels as they are, not normalised by the patch
"""

from typing import Annotated

import torch
from torch import Tensor

from blockyard.core import Batch, Corruption, Site, squares
from blockyard.core.part import Draws
from blockyard.core.settings import Channels, Patch, Share
from blockyard.parts.corrupt._hide import asked, hidden


class Patches(Corruption):
    variants = ({}, dict(share=0.5, patch=2, channels=1))

    def __init__(
        self, site: Site, *, share: Annotated[Share, "of the patches, how many are hidden"] = 0.75, patch: Patch = 4,
        channels: Channels = 3,
    ) -> None:  # fmt: skip
        super().__init__()
        self.share, self.patch, self.channels = share, patch, channels
        self.numbers = patch * patch * channels

    def example(self, rows: int, length: int, draw: torch.Generator) -> Batch:
        """Images one patch high."""
        return Batch(torch.randn(rows, self.patch, length * self.patch, self.channels, generator=draw))

    def forward(self, batch: Batch, draw: Draws) -> Batch:
        cells, side = self.cells(batch.tokens), self.patch
        where = hidden(batch, (cells.shape[0], cells.shape[1]), self.share, draw)
        pixels = where.unflatten(1, (-1, batch.tokens.shape[2] // side))
        pixels = pixels.repeat_interleave(side, 1).repeat_interleave(side, 2)
        return asked(batch, cells, where, batch.tokens.masked_fill(pixels[..., None], 0))

    def cells(self, tokens: Tensor) -> Tensor:
        return squares(tokens, self.patch, self.path)
