"""Each weight by itself: the chance that a key is meant, less the more keys there are.

    w_s = 1 / (1 + exp(log n - z_s))        n keys are seen

Shapes   scores, weights (B,H,T,S)
Source   none    Family  weights of attention
Differs  nothing known
"""

from torch import Tensor

from blockyard.core import Call, Site
from blockyard.core.part import Weigh


class MyWeigh(Weigh):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, bidirectional=True, any_order=True)
    unrecorded = "weights of attention other than the softmax are no instruction yet"

    def __init__(self, site: Site) -> None:
        super().__init__()

    def forward(self, scores: Tensor, call: Call | None = None) -> Tensor:
        seen = (scores > float("-inf")).sum(-1, keepdim=True).clamp(min=1)
        return (scores - seen.log()).sigmoid()
