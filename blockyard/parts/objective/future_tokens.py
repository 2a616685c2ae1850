"""Predict from every state the next tokens, each with those before it at hand, which a head that can say several does.

    loss = sum_n g^n CE_n / sum_n g^n        CE_n = mean over t of -log p(x_{t+n+1} | h_t, x_{t+1} .. x_{t+n}), n < N

What a batch does not ask for, or what lies behind the end of a segment, is left out of the mean. With a share below 1
each row is asked at so many places only, drawn anew in every step: N predictions of every token take room.

Shapes   logits (B,T,N,V)   tokens, targets (B,T)
Source   arXiv 2410.18160    Slug  future-token-prediction    Family  objective
Differs  the weights g^n are a reading of the paper
"""

import math
from dataclasses import replace
from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core import Batch, Objective, Site
from blockyard.core.part import Draws
from blockyard.core.settings import Count, Share
from blockyard.kernels import cross_entropy
from blockyard.parts.objective._next import followed, next_tokens

PLACES = "places"  # where a prepared batch is asked


class FutureTokens(Objective):
    needs = ("causal",)
    around = dict(head=("future_decoder", {}))

    def __init__(
        self, site: Site, *, count: Annotated[Count, "how many tokens are said from each place"] = 8,
        decay: Annotated[Share, "what each further token weighs beside the one before it"] = 1.0,
        share: Annotated[Share, "of the places of a row, those that are asked in a step"] = 1.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.count, self.decay, self.share = count, decay, share

    @classmethod
    def speaks(cls, settings: dict[str, Any]) -> int:
        return max(0, math.ceil(settings.get("count", 8) * settings.get("share", 1.0)) - 1)

    def prepare(self, batch: Batch, draw: Draws) -> Batch:
        if self.share == 1:
            return batch
        rows, length = batch.tokens.shape
        asked = math.ceil(self.share * length)
        chosen = draw("places", (rows, length)).argsort(1)[:, :asked]
        places = torch.zeros_like(batch.tokens, dtype=torch.bool).scatter(1, chosen, True)
        return replace(batch, more={**batch.more, PLACES: places})

    def labels(self, batch: Batch) -> Tensor:
        """(B,T,N) the tokens that are asked for from each place, -1 where none is."""
        asked = next_tokens(batch)
        rest = followed(batch, self.count - 1)
        found = [asked, *[asked.roll(-n, 1).masked_fill(~follows, -1) for n, follows in enumerate(rest, 1)]]
        labels = torch.stack(found, 2)
        return labels if PLACES not in batch.more else labels.masked_fill(~batch.more[PLACES][..., None], -1)

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        asked = (self.labels(batch) >= 0).sum((0, 1))
        return {_named(n): asked[n] for n in range(self.count)}

    def forward(self, model: Any, batch: Batch) -> dict[str, tuple[Tensor, Tensor, float]]:
        """{term: (sum, count, weight)}."""
        labels, counts = self.labels(batch), self.counts(batch)
        shown = torch.stack([batch.tokens, *[batch.tokens.roll(-n, 1) for n in range(1, self.count)]], 2)[:, :, 1:]
        flow = model.run(model.start(batch))
        if PLACES in batch.more:
            index = batch.more[PLACES].flatten().nonzero()[:, 0]
            flow, labels, shown = flow.only(index[None]), labels.flatten(0, 1)[index], shown.flatten(0, 1)[index][None]
        logits = model.finish(flow, shown).logits.flatten(0, 2)
        nats = cross_entropy(logits, labels.flatten()).view(-1, self.count).sum(0)
        whole = sum(self.decay**n for n in range(self.count))
        return {_named(n): (nats[n], counts[_named(n)], self.decay**n / whole) for n in range(self.count)}


def _named(n: int) -> str:
    return f"token {n + 1}"
