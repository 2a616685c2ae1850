"""Predict every token from the ones before it.

    loss = sum over wanted tokens of -log softmax(logits_t)[target_t]  /  their number

Shapes   logits (B,T,V)   targets (B,T), below 0 where nothing is asked
Source   none    Family  objective
Differs  nothing known
"""

from typing import Any

from torch import Tensor

from blockyard.core import Batch, Objective, Site
from blockyard.kernels import cross_entropy
from blockyard.parts.objective._next import next_tokens


class NextToken(Objective):
    needs = ("causal",)

    def __init__(self, site: Site) -> None:
        super().__init__()

    def targets(self, batch: Batch) -> Tensor:
        """The next token of each token in its segment, -1 where there is none."""
        return next_tokens(batch)

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        """How many predictions this batch asks for: known before any forward."""
        return {"next_token": (self.targets(batch) >= 0).sum()}

    def forward(self, model: Any, batch: Batch) -> dict[str, tuple[Tensor, Tensor, float]]:
        """{term: (sum, count, weight)}."""
        logits, targets = model(batch).logits, self.targets(batch)
        nats = cross_entropy(logits.flatten(0, 1), targets.flatten())
        return {"next_token": (nats.sum(), (targets >= 0).sum(), 1.0)}
