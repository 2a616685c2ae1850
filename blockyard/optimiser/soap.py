"""Adam in the directions in which the gradients of a matrix vary most and least.

    L, R = running means of G G^T, G^T G        Q_L, Q_R = their eigenvectors, made better every `every` steps
    W = (W - rate Q_L adam(Q_L^T G Q_R) Q_R^T) (1 - rate decay / 2)        b1, b2 = 0.95, 0.95

The first step only begins L and R. A dimension longer than `longest` is left as it lies.

Source   arXiv 2409.11321
Family   optimisers
Differs  decay falls on what the factories recorded as a projection, never on norms, biases, gates or tables

The step is that of pytorch-optimizer. The usual rates are larger than Adam's, the decay is as much smaller.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from torch import Tensor, nn, optim

from blockyard.core.settings import Count, NonNegative, Positive
from blockyard.model.model import Model
from blockyard.optimiser._groups import decayed
from blockyard.optimiser._library import alone, carried, library

package = "pytorch_optimizer"
extra = "optimisers"
rates = 2.0  # of a grid, in units of Adam's


def soap(
    model: Model, params: dict[str, nn.Parameter], *, lr: Annotated[Positive, "the rate of a step"] = 3e-3,
    decay: Annotated[NonNegative, "how much of a projection a step of rate 2 takes away"] = 0.1,
    every: Annotated[Count, "steps between two makings of the directions"] = 10,
    longest: Annotated[Count, "the longest dimension that has directions"] = 10000,
) -> optim.Optimizer:  # fmt: skip
    """The optimiser of these parameters, by their paths in the model."""
    made = library("soap").SOAP(
        alone(decayed(model, params, decay / rates)), lr=lr, betas=(0.95, 0.95), shampoo_beta=0.95,
        precondition_frequency=every, max_precondition_dim=longest,
    )  # fmt: skip
    return carried(made, ("step",), ("precondition_frequency", "shampoo_beta"))


def held(model: Model, params: Mapping[str, Tensor], *, longest: int = 10000, **_: Any) -> int:
    """Numbers that it keeps: two moments of each, and two square matrices of each dimension of a matrix."""
    squares = [n * n for p in params.values() if p.dim() > 1 for n in p.shape if n <= longest]
    return 2 * (sum(p.numel() for p in params.values()) + sum(squares))
