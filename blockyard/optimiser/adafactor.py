"""Adam without a momentum, whose second moments of a matrix are a column times a row.

    r, c = running means of g^2 over columns, over rows        v = r c / mean(r)        u = g / sqrt(v)
    w = w (1 - rate decay / 4) - max(1e-3, rms(w)) min(rate, 1 / sqrt(t)) u / max(1, rms(u))

Source   arXiv 1804.04235
Family   optimisers
Differs  decay falls on what the factories recorded as a projection, never on norms, biases, gates or tables

The step is the framework's. A rate is a share of a number's own size, so that the usual ones are larger than Adam's;
the decay is as much smaller, so that as much is taken away in a step.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from torch import Tensor, nn, optim

from blockyard.core.settings import NonNegative, Positive
from blockyard.model.model import Model
from blockyard.optimiser._groups import decayed

rates = 4.0  # of a grid, in units of Adam's


def adafactor(
    model: Model, params: dict[str, nn.Parameter], *, lr: Annotated[Positive, "the largest share of a step"] = 1e-2,
    decay: Annotated[NonNegative, "how much of a projection a step of rate 4 takes away"] = 0.1,
) -> optim.Optimizer:  # fmt: skip
    """The optimiser of these parameters, by their paths in the model."""
    return optim.Adafactor(decayed(model, params, decay / rates), lr=lr)


def held(model: Model, params: Mapping[str, Tensor], **_: Any) -> int:
    """Numbers that it keeps: a row and a column of each matrix, all of a vector."""
    return sum(p.numel() // p.shape[-1] + p.numel() // p.shape[-2] if p.dim() > 1 else p.numel()
               for p in params.values())  # fmt: skip
