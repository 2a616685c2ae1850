"""The weighted mean of every number.

    w = w_1 + sum_i a_i (w_i - w_1)        a_i >= 0 in any scale, made to sum to 1

Source   arXiv 2203.05482 (model soups)
Family   merges
Differs  written around the first model, so that of equal models nothing changes, to the bit
"""

from collections.abc import Sequence

from torch import Tensor

from blockyard.blend._base import Blend, Tensors, shares
from blockyard.core.settings import Weights


class Linear(Blend):
    def __init__(self, *, weights: Weights | None = None) -> None:
        self.weights = weights

    def __call__(self, models: Sequence[Tensors], base: Tensors) -> dict[str, Tensor]:
        each, first = shares(self.weights, len(models)), models[0]
        return {
            path: value + sum(a * (other[path] - value) for a, other in zip(each[1:], models[1:]))
            for path, value in first.items()
        }
