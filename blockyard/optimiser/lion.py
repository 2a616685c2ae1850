"""Steps of one size, in the direction that a momentum and the gradient agree on.

    w = w (1 - 4 rate decay) - rate sign(0.9 m + 0.1 g)        m = 0.99 m + 0.01 g

Source   arXiv 2302.06675
Family   optimisers
Differs  decay falls on what the factories recorded as a projection, never on norms, biases, gates or tables

The step is that of pytorch-optimizer. Every number moves by the whole rate, so that the usual ones are smaller than
Adam's; the decay is as much larger, so that as much is taken away in a step.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from torch import Tensor, nn, optim

from blockyard.core.settings import NonNegative, Positive
from blockyard.model.model import Model
from blockyard.optimiser._groups import decayed
from blockyard.optimiser._library import library

package = "pytorch_optimizer"
extra = "optimisers"
rates = 0.25  # of a grid, in units of Adam's


def lion(
    model: Model, params: dict[str, nn.Parameter], *, lr: Annotated[Positive, "the rate of a step"] = 1e-4,
    decay: Annotated[NonNegative, "how much of a projection a step of rate 0.25 takes away"] = 0.1,
) -> optim.Optimizer:  # fmt: skip
    """The optimiser of these parameters, by their paths in the model."""
    return library("lion").Lion(decayed(model, params, decay / rates), lr=lr, betas=(0.9, 0.99))


def held(model: Model, params: Mapping[str, Tensor], **_: Any) -> int:
    """Numbers that it keeps: one for each."""
    return sum(p.numel() for p in params.values())
