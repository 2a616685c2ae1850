"""Only the queries whose scores are the most uneven weigh by the softmax; all others read the mean of what they see.

    M_t = max_s z_ts - mean_s z_ts        t among the u largest M: w = softmax(z_t), else w = 1 / |seen by t|
    u = factor ceil(ln(1 + T))

Which queries are chosen depends on all of them, so that a row is read whole: nothing here is causal or streams.

Shapes   scores, weights (B,H,T,S)   M (B,H,T)
Source   arXiv 2012.07436    Family  weights of attention
Differs  the dense formula, with M over all keys that a query sees (paper: over some that are drawn, which saves time)
"""

from math import ceil, log1p
from typing import Annotated

import torch
from torch import Tensor

from blockyard.core import Call, Site
from blockyard.core.part import Weigh
from blockyard.core.settings import Count, Scale
from blockyard.kernels import attend_weights


class ProbSparse(Weigh):
    claims = dict(row_independent=True, bidirectional=True)
    unrecorded = "weights of attention other than the softmax are no instruction yet"
    variants = (dict(factor=1), {}, dict(factor=2, scale=2.0))

    def __init__(
        self, site: Site, *,
        factor: Annotated[Count, "so many times the logarithm of the tokens are queries that weigh"] = 5,
        scale: Scale | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.factor, self.scale = factor, scale

    def forward(self, scores: Tensor, call: Call | None = None) -> Tensor:
        seen = scores > float("-inf")
        count = seen.to(scores.dtype).sum(-1).clamp(min=1)
        mean = torch.where(seen, scores, 0).sum(-1) / count
        uneven = torch.where(seen.any(-1), scores.max(-1).values - mean, -1.0)
        active = min(scores.shape[-2], self.factor * ceil(log1p(scores.shape[-2])))
        chosen = torch.zeros_like(uneven, dtype=torch.bool).scatter(-1, uneven.topk(active, -1).indices, True)
        return torch.where(chosen[..., None], attend_weights(scores), seen / count[..., None])
