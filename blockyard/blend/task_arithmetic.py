"""What every model learned since the base is added to the base; a weight below 0 takes it away.

    w = w_0 + scale sum_i a_i (w_i - w_0)        a_i = 1 where nothing else is said

Source   arXiv 2212.04089
Family   merges
Differs  nothing known
"""

from collections.abc import Sequence
from typing import Annotated

from torch import Tensor

from blockyard.blend._base import Blend, Tensors, moved, shares
from blockyard.core.settings import Number, Weights


class TaskArithmetic(Blend):
    based = True

    def __init__(
        self, *, weights: Weights | None = None,
        scale: Annotated[Number, "what the sum of all that was learned counts"] = 1.0,
    ) -> None:  # fmt: skip
        self.weights, self.scale = weights, scale

    def __call__(self, models: Sequence[Tensors], base: Tensors) -> dict[str, Tensor]:
        each, learned = shares(self.weights, len(models), whole=False), moved(models, base)
        return {
            path: value + self.scale * sum(a * own[path] for a, own in zip(each, learned))
            for path, value in base.items()
        }
