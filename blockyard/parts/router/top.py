"""Each token goes to the experts it scores highest, and each of them counts by its share of all scores.

    p = softmax(W x)        w_e = p_e where p_e is among the `top` largest, else 0

Shapes   x (B,T,D)   W (E,D)   p, w (B,T,E)
Source   arXiv 2101.03961, 1701.06538    Family  router
Differs  nothing is drawn; no expert is ever full
"""

from typing import Annotated

from torch import Tensor

from blockyard.core import Axis, Call, Router, Site
from blockyard.core.settings import Count
from blockyard.parts.router._scores import matrix, scores


class Top(Router):
    claims = dict(per_token=True, row_independent=True)

    def __init__(self, site: Site, experts: Axis, *, top: Annotated[Count, "experts of a token"] = 1) -> None:
        super().__init__()
        self.weight, self.top = matrix(site, experts, top), top

    def active(self, call: Call) -> int:
        return self.top

    def forward(self, x: Tensor, call: Call) -> tuple[Tensor, Tensor]:
        p = scores(x, self.weight).softmax(-1)
        kept = p.topk(self.top, -1)
        return p.new_zeros(p.shape).scatter(-1, kept.indices, kept.values), p
