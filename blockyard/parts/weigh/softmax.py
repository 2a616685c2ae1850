"""The softmax: weights are above zero, sum to one, and ratios of two follow from the difference of their scores.

    w_s = exp(z_s) / sum_r exp(z_r)        z = q . k * scale + bias

Shapes   scores, weights (B,H,T,S)
Source   arXiv 1706.03762    Family  weights of attention
Differs  nothing known
"""

from torch import Tensor

from blockyard.core import Call, Site
from blockyard.core.part import Weigh
from blockyard.core.settings import Scale
from blockyard.kernels import attend_weights


class Softmax(Weigh):
    fused = True
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, bidirectional=True, any_order=True)
    variants = ({}, dict(scale=0.3))

    def __init__(self, site: Site, *, scale: Scale | None = None) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, scores: Tensor, call: Call | None = None) -> Tensor:
        return attend_weights(scores)
