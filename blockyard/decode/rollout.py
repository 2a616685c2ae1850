"""Forecasts of any length from a model that says a few steps: each is read as if it had come, and the next one said.

    window <- last L steps of [window, forecast]        until there are enough steps

A model that scales its window scales every window anew: this is no decode from a cache.
"""

from typing import Any

import torch
from torch import Tensor

from blockyard.core.batch import Batch
from blockyard.core.errors import UsageError


@torch.no_grad()
def rollout(model: Any, tokens: Tensor, steps: int) -> Tensor:
    """(B,steps,K) what comes behind windows (B,L,K), all of whose variables the model forecasts."""
    found = list[Tensor]()
    while True:
        said = model(Batch(tokens)).prediction
        if "forecast" not in said:
            raise UsageError(f"head:{model.head.spec.name} forecasts nothing; it cannot be rolled out")
        found.append(said["forecast"])
        if sum(ahead.shape[1] for ahead in found) >= steps:
            return torch.cat(found, 1)[:, :steps]
        read, told = tokens.shape[2], found[-1].shape[2]
        if told != read:
            raise UsageError(
                f"the model reads {read} columns and forecasts {told}: the others are not known to go on with"
            )
        tokens = torch.cat([tokens, found[-1].to(tokens.dtype)], 1)[:, -tokens.shape[1] :]
