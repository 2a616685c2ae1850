"""Along the arc from one model to another, tensor by tensor: directions turn evenly.

    w = (sin((1 - t) u) w_1 + sin(t u) w_2) / sin u        cos u = w_1 . w_2 / (|w_1| |w_2|), of the whole tensor

Source   https://doi.org/10.1145/325334.325242 (Shoemake 1985), of flattened tensors
Family   merges
Differs  where two tensors point the same way, or one has no length, the straight line
"""

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor

from blockyard.blend._base import Blend, Tensors
from blockyard.core.errors import UsageError
from blockyard.core.settings import Fraction

STRAIGHT = 1e-6  # radians: nearer than this an arc is a line, and so is what lies just opposite


class Slerp(Blend):
    most = 2

    def __init__(self, *, t: Annotated[Fraction, "how far from the first model to the second"] = 0.5) -> None:
        self.t = t

    def __call__(self, models: Sequence[Tensors], base: Tensors) -> dict[str, Tensor]:
        if len(models) != 2:
            raise UsageError(f"slerp lies between 2 models, not {len(models)}")
        return {path: self._between(value, models[1][path]) for path, value in models[0].items()}

    def _between(self, a: Tensor, b: Tensor) -> Tensor:
        x, y = a.flatten(), b.flatten()
        across = torch.linalg.vector_norm(x / x.norm() - y / y.norm())  # a chord: near 0 the cosine has no digits left
        angle = float(2 * torch.asin((across / 2).clamp(max=1.0)))
        if not STRAIGHT < angle < torch.pi - STRAIGHT:  # of a tensor without length it is no number
            return a + self.t * (b - a)
        one, other = (torch.sin(torch.tensor(share * angle, dtype=a.dtype)) for share in (1 - self.t, self.t))
        return (one.to(a.device) * a + other.to(a.device) * b) / torch.sin(torch.tensor(angle, dtype=a.dtype))
