"""Predict every token from the ones before it, and keep the logits near zero.

    loss = mean of -log softmax(logits_t)[token_{t+1}]  +  weight * mean of (log sum exp logits_t)^2

Shapes   logits (B,T,V)   tokens (B,T)
Source   arXiv 2204.02311    Family  objective
Differs  nothing known
"""

from typing import Annotated, Any

from torch import Tensor
from torch.nn.functional import cross_entropy

from blockyard.core import Batch, Site
from blockyard.core.settings import NonNegative
from blockyard.parts.objective.next_token import NextToken


class MyObjective(NextToken):
    """Terms by name: {name: (sum, count, weight)}. `counts` says the counts before any forward."""

    def __init__(
        self, site: Site, *, weight: Annotated[NonNegative, "how much the size of logits costs"] = 1e-4
    ) -> None:
        super().__init__(site)
        self.weight = weight

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        asked = (self.targets(batch) >= 0).sum()
        return {"next_token": asked, "size": asked}

    def forward(self, model: Any, batch: Batch) -> dict[str, tuple[Tensor, Tensor, float]]:
        logits, targets = model(batch).logits.float(), self.targets(batch)
        asked = targets >= 0
        nats = cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1, reduction="sum")
        size = logits.logsumexp(-1)[asked].square().sum()
        return {"next_token": (nats, asked.sum(), 1.0), "size": (size, asked.sum(), self.weight)}
