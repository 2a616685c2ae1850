"""Set the smallest weights of every projection to zero.

    w_ij <- 0 where |w_ij| is among the smallest share of its matrix

Source   arXiv 1506.02626
Family   pruning
Differs  once and without training in between
"""

from collections.abc import Sequence
from typing import Annotated

import torch

from blockyard.core.batch import Batch
from blockyard.core.settings import Share
from blockyard.model.model import Model, build
from blockyard.model.save import fill, stored
from blockyard.transform._base import Applied, Transform


class MyTransform(Transform):
    # shown = True would have `apply` given batches of training data

    def __init__(self, *, share: Annotated[Share, "the part of each matrix that becomes zero"] = 0.5) -> None:
        self.share = share

    def plan(self, model: Model) -> dict[str, str]:
        # what a tensor is, is said by its record, never by its name
        return {use.path: f"{self.share:.0%} zeros" for use in model.uses if use.decay and not use.of}

    def apply(self, model: Model, data: Sequence[Batch] = ()) -> Applied:
        tensors, covered = {path: tensor.detach().clone() for path, tensor in stored(model).items()}, self.plan(model)
        zeros = {}
        for path in covered:
            weight, count = tensors[path], max(1, int(self.share * tensors[path].numel()))
            if not weight.is_meta:  # an outline has shapes and no numbers
                weight[weight.abs() <= weight.abs().flatten().kthvalue(count).values] = 0
            zeros[path] = count
        with torch.device("meta"):
            made = build(model.spec)  # a transform that changes the architecture edits the spec here
        return Applied(fill(made, tensors, next(model.parameters()).device), covered, report={"zeros": zeros})
