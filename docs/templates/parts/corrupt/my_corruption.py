"""Ask for tokens in step: every so many tokens one is shown as the mask, from a place that is drawn for each row.

    asked_t = (t + phase) mod every = 0        phase evenly from 0 to every - 1

Shapes   tokens, targets (B,T), a target of -1 where nothing is asked
Source   none    Family  objective
Differs  nothing known
"""

from dataclasses import replace
from typing import Annotated

import torch

from blockyard.core import Batch, Corruption, Site
from blockyard.core.part import Draws
from blockyard.core.settings import Count, Natural


class MyCorruption(Corruption):
    """`share` is what it asks for on average; a task tells `mask` where its vocabulary has one."""

    def __init__(
        self, site: Site, *, every: Annotated[Count, "of how many tokens one is asked"] = 8,
        mask: Annotated[Natural, "the id that stands for a hidden token"] = 256,
    ) -> None:  # fmt: skip
        super().__init__()
        self.every, self.mask, self.share = every, mask, 1 / every

    def forward(self, batch: Batch, draw: Draws) -> Batch:
        rows, length = batch.tokens.shape
        phase = (draw("phase", (rows, 1)) * self.every).long()  # numbers in [0,1), the same when a step is repeated
        asked = (torch.arange(length, device=phase.device) + phase) % self.every == 0
        if batch.valid is not None:  # what does not count is never asked
            asked = asked & batch.valid
        if batch.targets is not None:  # nor what must not be
            asked = asked & (batch.targets >= 0)
        targets = torch.where(asked, batch.tokens, -1)
        return replace(batch, tokens=batch.tokens.masked_fill(asked, self.mask), targets=targets)
