"""A key's position is how many of the tokens from it on count for the query: the text decides what is counted.

    g_ij = sigmoid(z_ij)        p_ij = min(sum of g_ir over the r from j on that i sees, P)
    z_ij <- z_ij + q_i . e(p_ij)        e(p) between the rows floor(p) and ceil(p) of a table

Shapes   q (B,T,H,K)   z, p (B,H,T,S)   e (P+1, K), one for all heads of a layer
Source   arXiv 2405.18719    Family  position
Differs  gates read the scaled scores that attention has
"""

from typing import Annotated

import torch
from torch import Tensor

from blockyard.core import Call, Position, Site, constant
from blockyard.core.settings import Count


class CoPE(Position):
    rescores = True
    claims = dict(causal=True, streams=True, packs=True, row_independent=True)
    unrecorded = "scores that are changed one by one are no instruction yet"
    variants = (dict(most=5),)

    def __init__(
        self, site: Site, *, most: Annotated[Count, "the position from which on all are the same"] = 64
    ) -> None:  # fmt: skip
        super().__init__()
        *_, head_dim = site.stream.leaves()
        places = site.axis("places", most + 1)
        places.ordered = True
        self.table, self.most = site.param("table", (places, head_dim), constant(0.0)), most

    def at_scores(self, scores: Tensor, q: Tensor, call: Call, positions: Tensor | None) -> Tensor:
        counted = scores.sigmoid().flip(-1).cumsum(-1).flip(-1).clamp(max=float(self.most))
        of_query = q.transpose(1, 2).to(scores.dtype) @ self.table.T.to(scores.dtype)  # (B,H,T,P+1)
        below = counted.floor()
        low, high = (of_query.gather(-1, place.long()) for place in (below, counted.ceil()))
        return scores + torch.lerp(low, high, counted - below)
