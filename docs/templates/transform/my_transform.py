"""Set the smallest weights of every projection to zero.

    w_ij <- 0 where |w_ij| is among the smallest share of its matrix

Source   arXiv 1506.02626
Family   pruning
Differs  once and without training in between
"""

from typing import Annotated

import torch

from blockyard.core.settings import Share
from blockyard.model.model import Model, build
from blockyard.model.save import fill, stored


def my_transform(
    model: Model, *, share: Annotated[Share, "the part of each matrix that becomes zero"] = 0.5
) -> tuple[Model, dict[str, int]]:
    """A new model, and how many weights of each matrix are zero in it."""
    tensors = {path: tensor.detach().clone() for path, tensor in stored(model).items()}
    zeros: dict[str, int] = {}
    for use in model.uses:  # what a tensor is, is said by its record, never by its name
        if use.decay and not use.of:
            weight = tensors[use.path]
            count = zeros[use.path] = max(1, int(share * weight.numel()))
            weight[weight.abs() <= weight.abs().flatten().kthvalue(count).values] = 0
    with torch.device("meta"):
        made = build(model.spec)  # a transform that changes the architecture edits the spec here
    return fill(made, tensors, next(model.parameters()).device), zeros
