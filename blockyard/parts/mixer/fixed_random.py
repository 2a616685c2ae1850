"""Tokens mixed by weights that were drawn once and never learn.

    y_t = sum_s softmax_s(R_ts) x_s        R normal, drawn from the model's seed; s all tokens, or those up to t

Shapes   x, y (B,T,D)   R (length, length), kept, not learned
Source   arXiv 2111.11418    Family  floor
Tags     memory=keys, decay=none
Differs  built from left to right, a token reads only those before it
"""

from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core import Call, Site, Sublayer, UsageError
from blockyard.core.settings import Count


class FixedRandom(Sublayer):
    claims = dict(causal=True, row_independent=True, bidirectional=True)
    variants = (dict(length=64),)

    def __init__(
        self, site: Site, *,
        length: Annotated[Count, "tokens of the longest row; none: as long as the model expects"] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        tokens = site.axis("length", length or site.length)
        tokens.ordered = True

        def drawn(rng: torch.Generator) -> Tensor:
            return torch.randn(tokens.size, tokens.size, generator=rng)

        self.weights = site.buffer("weights", drawn, (tokens, tokens))

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        length = x.shape[1]
        if length > len(self.weights) or call.valid is not None or call.segment is not None:
            raise UsageError(f"{self.path}: mixes whole rows of at most {len(self.weights)} tokens")
        scores = self.weights[:length, :length]
        if self.causal:
            scores = scores.masked_fill(torch.ones_like(scores).triu(1).bool(), float("-inf"))
        return torch.einsum("ts,bsd->btd", scores.softmax(-1).to(x.dtype), x), state
