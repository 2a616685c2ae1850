"""Send every token to the one expert that scores it highest.

    p = softmax(W x)        w_e = p_e for the largest, 0 elsewhere

Shapes   x (B,T,D)   W (E,D)   w, p (B,T,E)
Source   none    Family  router
Differs  nothing known
"""

import torch
from torch import Tensor

from blockyard.core import Axis, Call, Router, Site, normal, upcast


class MyRouter(Router):
    """The weights say where a token goes, and how much that counts; by the shares loads are evened."""

    claims = dict(per_token=True, row_independent=True)

    def __init__(self, site: Site, experts: Axis) -> None:
        super().__init__()
        self.weight = site.param("weight", (experts, site.stream), normal(0.02), reads=site.stream, writes=experts)

    def active(self, call: Call) -> int:
        return 1

    def forward(self, x: Tensor, call: Call) -> tuple[Tensor, Tensor]:
        share = torch.softmax(upcast(x) @ upcast(self.weight).T, -1)
        best = share.max(-1, keepdim=True)
        return torch.zeros_like(share).scatter(-1, best.indices, best.values), share
