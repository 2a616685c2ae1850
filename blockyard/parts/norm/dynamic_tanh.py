"""No mean and no scale of a token's own: a hyperbolic tangent of a learned steepness, for every channel alone.

    y = g tanh(alpha x) + b        alpha one number, 0.5 at first

Shapes   x, y (..., D)   alpha ()   g, b (D)
Source   arXiv 2503.10622    Family  norm
Differs  nothing known
"""

from typing import Annotated

import torch
from torch import Tensor

from blockyard.core import Call, Part, Site, constant
from blockyard.core.settings import Positive


class DynamicTanh(Part):
    claims = dict(per_token=True, row_independent=True)

    def __init__(self, site: Site, *, alpha: Annotated[Positive, "where the steepness starts"] = 0.5) -> None:
        super().__init__()
        self.alpha = site.param("alpha", (), constant(alpha))
        self.gain = site.param("gain", (site.stream,), constant(1.0))
        self.bias = site.param("bias", (site.stream,), constant(0.0))

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        return self.gain.to(x.dtype) * torch.tanh(self.alpha.to(x.dtype) * x) + self.bias.to(x.dtype)

    def times(self, factor: Tensor) -> dict[str, Tensor]:
        return {"gain": self.gain * factor, "bias": self.bias * factor}
