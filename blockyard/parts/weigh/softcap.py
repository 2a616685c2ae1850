"""The softmax of scores that are bent back before they grow: none is larger than a cap.

    w = softmax(cap tanh(z / cap))        z = q . k * scale + bias

Shapes   scores, weights (B,H,T,S)
Source   arXiv 2408.00118    Family  weights of attention
Differs  nothing known
"""

from typing import Annotated

from torch import Tensor

from blockyard.core import Call, Site
from blockyard.core.part import Weigh
from blockyard.core.settings import Positive, Scale
from blockyard.kernels import attend_weights


class Softcap(Weigh):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, bidirectional=True, any_order=True)
    unrecorded = "weights of attention other than the softmax are no instruction yet"
    variants = ({}, dict(cap=0.5, scale=2.0))

    def __init__(
        self, site: Site, *, cap: Annotated[Positive, "no score is larger, nor below its negative"] = 50.0,
        scale: Scale | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.cap, self.scale = cap, scale

    def forward(self, scores: Tensor, call: Call | None = None) -> Tensor:
        unseen = scores == float("-inf")
        return attend_weights((self.cap * (scores / self.cap).tanh()).masked_fill(unseen, float("-inf")))
