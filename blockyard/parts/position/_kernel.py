"""First numbers of learned kernels: even in a range, held by what keeps them there."""

import torch
from torch import Tensor

from blockyard.core.site import Init

_LEAST = 1e-2  # the paper's own smallest


def log_uniform(high: float) -> Init:
    """Logarithms of numbers drawn evenly up to `high`."""
    return lambda value, rng: value.uniform_(_LEAST, high, generator=rng).log_()


def logit_uniform(value: Tensor, rng: torch.Generator) -> Tensor:
    """Logits of numbers drawn evenly between 0 and 1."""
    return value.uniform_(_LEAST, 1 - _LEAST, generator=rng).logit_()
