"""Centre every token and scale it to unit variance; nothing is learned.

    y = (x - mean(x)) / sqrt(var(x) + eps)

Shapes   x, y (..., D)
Source   arXiv 2402.00838    Family  norm
Differs  nothing known
"""

import torch
from torch import Tensor
from torch.nn.functional import layer_norm

from blockyard.core import Call, Part, Site
from blockyard.core.settings import Eps


class StandardNorm(Part):
    claims = dict(per_token=True, row_independent=True, scale_invariant=True)

    def __init__(self, site: Site, *, eps: Eps = 1e-5) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        ones = torch.ones(x.shape[-1], dtype=x.dtype, device=x.device)
        return layer_norm(x, ones.shape, ones, torch.zeros_like(ones), self.eps)
