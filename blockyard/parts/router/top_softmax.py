"""Each token goes to the experts it scores highest, and these alone share its weight: they sum to one.

    z = W x        w = softmax of z over its `top` largest, 0 elsewhere        p = softmax(z)

A softmax over all, cut to the largest and scaled to sum to one, is the same. What evens the load are shares p.

Shapes   x (B,T,D)   W (E,D)   z, p, w (B,T,E)
Source   arXiv 2401.04088    Family  router
Differs  nothing is drawn; no expert is ever full
"""

from typing import Annotated

from torch import Tensor

from blockyard.core import Axis, Call, Router, Site
from blockyard.core.settings import Count
from blockyard.parts.router._scores import matrix, scores


class TopSoftmax(Router):
    claims = dict(per_token=True, row_independent=True)
    variants = (dict(top=2), dict(top=1))

    def __init__(self, site: Site, experts: Axis, *, top: Annotated[Count, "experts of a token"] = 2) -> None:
        super().__init__()
        self.weight, self.top = matrix(site, experts, top), top

    def active(self, call: Call) -> int:
        return self.top

    def forward(self, x: Tensor, call: Call) -> tuple[Tensor, Tensor]:
        z = scores(x, self.weight)
        kept = z.topk(self.top, -1)
        return z.new_zeros(z.shape).scatter(-1, kept.indices, kept.values.softmax(-1)), z.softmax(-1)
