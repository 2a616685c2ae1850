"""Predict every token from the ones before it.

    loss = sum over wanted tokens of -log softmax(logits_t)[target_t]  /  their number

Shapes   logits (B,T,V)   targets (B,T), below 0 where nothing is asked
Source   none    Family  objective
Differs  nothing known
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from blockyard.core import Batch, Objective, Site, upcast


class NextToken(Objective):
    needs = ("causal",)

    def __init__(self, site: Site) -> None:
        super().__init__()

    def targets(self, batch: Batch) -> Tensor:
        """The next token of each token in its segment, -1 where there is none."""
        targets = batch.targets
        if targets is None:
            targets = torch.cat([batch.tokens[:, 1:], torch.full_like(batch.tokens[:, :1], -1)], 1)
            reset = batch.resets()
            if reset is not None:
                targets = torch.cat([targets[:, :-1].masked_fill(reset[:, 1:], -1), targets[:, -1:]], 1)
            if batch.valid is not None:
                after = torch.cat([batch.valid[:, 1:], torch.zeros_like(batch.valid[:, :1])], 1)
                targets = targets.masked_fill(~after, -1)
        targets = targets.clamp(min=-1)
        return targets if batch.valid is None else targets.masked_fill(~batch.valid, -1)

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        """How many predictions this batch asks for: known before any forward."""
        return {"next_token": (self.targets(batch) >= 0).sum()}

    def forward(self, model: Any, batch: Batch) -> dict[str, tuple[Tensor, Tensor, float]]:
        """{term: (sum, count, weight)}."""
        logits, targets = model(batch).logits, self.targets(batch)
        total = cross_entropy(upcast(logits.flatten(0, 1)), targets.flatten(), ignore_index=-1, reduction="sum")
        return {"next_token": (total, (targets >= 0).sum(), 1.0)}
