"""Ask for whole spans of tokens: each span is shown as masks, as other tokens, or as it is.

    a span begins at t with probability r and has length l,  P(l) ~ (1 - 1/mean)^(l - 1),  l <= longest
    asked_t: a span covers t        1 - prod_{d >= 0} (1 - r P(l > d)) = share

Every token is asked with the same probability: spans begin before the row as well. Spans that touch are one.

Shapes   tokens, targets (B,T), a target of -1 where nothing is asked
Source   arXiv 1907.10529    Family  objective
Differs  spans are of tokens, not of whole words; their total is drawn, not fixed
"""

from math import log, prod
from typing import Annotated

import torch
from torch import Tensor
from torch.nn.functional import pad

from blockyard.core import Batch, Corruption, Site
from blockyard.core.part import Draws
from blockyard.core.settings import Count, Fraction, MaskId, OneOrMore, Share, Vocab
from blockyard.parts.corrupt._replace import Shown, askable


class Spans(Corruption):
    variants = ({}, dict(share=0.4, mean=2.0, longest=3), dict(mean=1.0, hidden=0.0, swapped=1.0, vocab=5, mask=2))

    def __init__(
        self, site: Site, *, share: Annotated[Share, "of the tokens, how many are asked"] = 0.15,
        mean: Annotated[OneOrMore, "tokens of a span on average, before the longest are cut"] = 5.0,
        longest: Annotated[Count, "tokens of a span at most"] = 10,
        hidden: Annotated[Fraction, "of the spans, how many are shown as masks"] = 0.8,
        swapped: Annotated[Fraction, "of the spans, how many are shown as other tokens"] = 0.1,
        vocab: Vocab = 257, mask: MaskId | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.share, self.shown = share, Shown.of(site, hidden, swapped, vocab, mask)
        self.on, self.longest = 1 - 1 / mean, longest  # how likely a span goes on for another token
        self.rate = _rate(share, [self.on**d for d in range(longest)])

    def forward(self, batch: Batch, draw: Draws) -> Batch:
        rows, length = batch.tokens.shape
        asked = self._covered(rows, length, draw) & askable(batch)
        place = torch.arange(length, device=asked.device)
        first = asked & ~pad(asked[:, :-1], (1, 0))
        span = torch.where(first, place, 0).cummax(1).values  # where the span of each token begins
        which = draw("which", (rows, length)).gather(1, span)
        return self.shown.instead(batch, asked, which, draw("what", (rows, length)))

    def _covered(self, rows: int, length: int, draw: Draws) -> Tensor:
        """(B,T) which tokens a span covers."""
        before = self.longest - 1
        shape = (rows, before + length)
        begins, size = draw("begins", shape) < self.rate, draw("size", shape)
        more = torch.log1p(-size) / log(self.on) if self.on else torch.zeros_like(size)
        place = torch.arange(before + length, device=size.device)
        end = torch.where(begins, place + 1 + more.long().clamp(max=before), 0).cummax(1).values
        return (end > place)[:, before:]


def _rate(share: float, on: list[float]) -> float:
    """How often a span begins, where one covers a share of the tokens; `on`: P(l > d) for d = 0, 1..."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if 1 - prod(1 - middle * p for p in on) < share else (low, middle)
    return high
