"""Gradient descent that looks ahead along its momentum.

    m = momentum m + g        w = w - rate (g + momentum m + decay w)

Source   arXiv 1212.0901
Family   optimisers
Differs  decay falls on what the factories recorded as a projection, and does not enter the momentum
"""

from collections.abc import Callable
from typing import Annotated, Any

import torch
from torch import nn, optim

from blockyard.core.settings import NonNegative, Positive, Share
from blockyard.model.model import Model


class _Nesterov(optim.Optimizer):
    """What an optimiser keeps stands in `state`, a dictionary of tensors for each parameter: it is saved as it is."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:
        for group in self.param_groups:
            for p in (p for p in group["params"] if p.grad is not None):
                kept = self.state[p]
                m = kept.setdefault("momentum", torch.zeros_like(p)).mul_(group["momentum"]).add_(p.grad)
                p.mul_(1 - group["lr"] * group["decay"]).sub_(p.grad + group["momentum"] * m, alpha=group["lr"])


def my_optimiser(
    model: Model, params: dict[str, nn.Parameter], *, lr: Annotated[Positive, "the rate of a step"] = 1e-2,
    decay: Annotated[NonNegative, "how much of a projection a step of rate 1 takes away"] = 0.1,
    momentum: Annotated[Share, "how much of the last step goes on"] = 0.9,
) -> optim.Optimizer:  # fmt: skip
    """The optimiser of these parameters, by their paths in the model."""
    decayed = {use.path for use in model.uses if use.decay and not use.of}
    groups = [{"params": [p], "decay": decay if name in decayed else 0.0} for name, p in params.items()]
    return _Nesterov(groups, dict(lr=lr, momentum=momentum))
