"""How the time constants of recurrences start."""

import math

import torch
from torch import Tensor

from blockyard.core import site


def log_uniform_in(low: float, high: float) -> "site.Init":
    """The logarithm of a number drawn evenly from [low, high]."""
    return lambda value, rng: value.uniform_(low, high, generator=rng).log_()


def softplus_step(
    value: Tensor, rng: torch.Generator, low: float = 1e-3, high: float = 0.1, floor: float = 1e-4
) -> None:
    """A bias whose softplus is log-uniform in [low, high]: the step sizes of Mamba."""
    value.uniform_(math.log(low), math.log(high), generator=rng).exp_().clamp_(min=floor)
    value.copy_(value + torch.log(-torch.expm1(-value)))
