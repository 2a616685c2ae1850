"""Of what models learned since the base the largest numbers are kept, and of those the ones that agree in sign.

    t_i = w_i - w_0, but for the `density` of its largest numbers 0        s = sign sum_i a_i t_i
    w = w_0 + scale (sum of a_i t_i of the models with sign t_i = s) / (sum of their a_i)        0 where there is none

Source   arXiv 2306.01708
Family   merges
Differs  nothing known: the largest are those of a whole model, as in the released code
"""

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor

from blockyard.blend._base import Blend, Tensors, moved, shares
from blockyard.core.settings import Number, Share, Weights


class Ties(Blend):
    based = True

    def __init__(
        self, *, density: Annotated[Share, "the share of a model's changes that is kept"] = 0.2,
        weights: Weights | None = None,
        scale: Annotated[Number, "what the agreed change counts"] = 1.0,
    ) -> None:  # fmt: skip
        self.density, self.weights, self.scale = density, weights, scale

    def __call__(self, models: Sequence[Tensors], base: Tensors) -> dict[str, Tensor]:
        each = shares(self.weights, len(models))
        learned = [self._trimmed(own) for own in moved(models, base)]
        agreed = {path: _agreed([own[path] for own in learned], each) for path in base}
        return {path: value + self.scale * agreed[path] for path, value in base.items()}

    def _trimmed(self, own: Tensors) -> dict[str, Tensor]:
        """A task vector with its largest numbers alone, those as large as the smallest of them too."""
        sizes = torch.cat([value.flatten() for value in own.values()]).abs()
        kept = max(1, round(self.density * len(sizes)))
        bound = sizes.kthvalue(len(sizes) - kept + 1).values
        return {path: torch.where(value.abs() >= bound, value, 0.0) for path, value in own.items()}


def _agreed(values: Sequence[Tensor], each: Sequence[float]) -> Tensor:
    """The mean of those numbers that have the sign that most of them add up to."""
    sign = torch.sign(torch.stack([a * value for a, value in zip(each, values)]).sum(0))
    total, count = torch.zeros_like(sign), torch.zeros_like(sign)
    for a, value in zip(each, values):
        meant = (torch.sign(value) == sign) & (sign != 0)
        total, count = total + torch.where(meant, a * value, 0.0), count + a * meant.to(value.dtype)
    return torch.where(count > 0, total / torch.where(count > 0, count, 1.0), 0.0)
