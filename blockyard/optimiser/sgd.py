"""Steps down the gradient, with a memory of the last ones where that is wanted.

    m = momentum m + g + decay w        w = w - rate m

Source   none
Family   optimisers
Differs  decay falls on what the factories recorded as a projection, never on norms, biases, gates or tables
"""

from collections.abc import Mapping
from typing import Annotated, Any

from torch import Tensor, nn, optim

from blockyard.core.settings import Fraction, NonNegative, Positive
from blockyard.model.model import Model
from blockyard.optimiser._groups import decayed

shards = True  # a step of a number needs that number alone


def sgd(
    model: Model, params: dict[str, nn.Parameter], *, lr: Annotated[Positive, "the rate of a step"] = 1e-2,
    decay: Annotated[NonNegative, "how much of a projection a step of rate 1 takes away"] = 0.0,
    momentum: Annotated[Fraction, "how much of the last step is taken again"] = 0.0,
) -> optim.Optimizer:  # fmt: skip
    """The optimiser of these parameters, by their paths in the model."""
    return optim.SGD(decayed(model, params, decay), lr=lr, momentum=momentum)


def held(model: Model, params: Mapping[str, Tensor], *, momentum: float = 0.0, **_: Any) -> int:
    """Numbers that it keeps: one for each where it has a memory, else none."""
    return sum(p.numel() for p in params.values()) if momentum else 0
