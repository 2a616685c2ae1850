"""Adam with a decay of the weights that the moments do not see.

    m = b1 m + (1 - b1) g        v = b2 v + (1 - b2) g^2        b1, b2 = 0.9, 0.95
    w = w - rate (m' / (sqrt(v') + eps) + decay w)              m', v' without their start at zero, eps = 1e-8

Source   arXiv 1711.05101, 1412.6980
Family   optimisers
Differs  decay falls on what the factories recorded as a projection, never on norms, biases, gates or tables

The step is the framework's fused one; groups and their order follow the paths.
"""

from typing import Annotated

from torch import nn, optim

from blockyard.core.settings import NonNegative, Positive
from blockyard.model.model import Model
from blockyard.optimiser._groups import decayed

shards = True  # a step of a number needs that number alone


def adamw(
    model: Model, params: dict[str, nn.Parameter], *, lr: Annotated[Positive, "the rate of a step"] = 1e-3,
    decay: Annotated[NonNegative, "how much of a projection a step of rate 1 takes away"] = 0.1,
) -> optim.Optimizer:  # fmt: skip
    """The optimiser of these parameters, by their paths in the model."""
    groups = decayed(model, params, decay)
    return optim.AdamW(groups, lr=lr, betas=(0.9, 0.95), eps=1e-8, fused=True)
