"""Point at the first and the last token of an answer that stands in the row.

    loss = sum over rows of (-log softmax_t(s)[first] - log softmax_t(e)[last]) / 2  /  their number

Where a batch says of what kind its tokens are (`batch.more["kinds"]`, 1: the text that holds the answer), the softmax
goes over those; else over all that count.

Shapes   span (B,T,2)   targets (B,2) first and last token, below 0 where nothing is asked
Source   arXiv 1810.04805    Family  objective
Differs  the question's tokens are left out of the softmax
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from blockyard.core import Batch, Objective, Site, upcast


class SpanOfRow(Objective):
    learns = "span"
    around = dict(head=("start_end", {}))

    def __init__(self, site: Site) -> None:
        super().__init__()

    def example(self, model: Any, rows: int, length: int, draw: Any = None) -> Batch:
        batch = super().example(model, rows, length, draw)
        ends = torch.randint(0, batch.tokens.shape[1], (rows, 2), generator=draw).sort(1).values
        return Batch(batch.tokens, ends)

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        assert batch.targets is not None
        return {"span": (batch.targets[:, 0] >= 0).sum()}

    def forward(self, model: Any, batch: Batch) -> dict[str, tuple[Tensor, Tensor, float]]:
        """{term: (sum, count, weight)}."""
        assert batch.targets is not None
        scores = upcast(model(batch).prediction["span"])
        inside = batch.more["kinds"] == 1 if "kinds" in batch.more else None
        if batch.valid is not None:
            inside = batch.valid if inside is None else inside & batch.valid
        if inside is not None:
            scores = scores.masked_fill(~inside[..., None], -torch.inf)
        total = cross_entropy(scores.transpose(1, 2).flatten(0, 1), batch.targets.flatten(), ignore_index=-1,
                              reduction="sum")  # fmt: skip
        return {"span": (total / 2, self.counts(batch)["span"], 1.0)}
