"""A softmax with a score of zero that weighs nothing: a query that meets no key well may read next to nothing.

    w_s = exp(z_s) / (1 + sum_r exp(z_r))        z = q . k * scale + bias

Shapes   scores, weights (B,H,T,S)
Source   arXiv 2306.12929    Family  weights of attention
Differs  the form with a one, without clipping; the paper compares with it
"""

import torch
from torch import Tensor

from blockyard.core import Call, Site
from blockyard.core.part import Weigh
from blockyard.core.settings import Scale


class OffByOne(Weigh):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, bidirectional=True, any_order=True)
    unrecorded = "weights of attention other than the softmax are no instruction yet"

    def __init__(self, site: Site, *, scale: Scale | None = None) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, scores: Tensor, call: Call | None = None) -> Tensor:
        nothing = torch.zeros_like(scores[..., :1])
        return torch.cat([scores, nothing], -1).softmax(-1)[..., :-1]
