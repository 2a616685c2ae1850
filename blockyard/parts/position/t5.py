"""Add to a score a learned number per head and bucket of distance; buckets widen with the distance.

    bias_h(d) = table[h, bucket(d)]     bucket(d) = d for d < B/2, then logarithmic up to `max_distance`, B-1 beyond
    (bidirectional: half of the buckets for each sign)

Shapes   table (buckets, H), one for all layers with the same shape
Source   arXiv 1910.10683    Family  position
Differs  nothing known
"""

import math
from typing import Annotated

import torch
from msgspec import Meta
from torch import Tensor
from torch.nn import Parameter

from blockyard.core import Position, Prod, Site, normal, widest_dtype
from blockyard.core.settings import Count


class T5Bias(Position):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, bidirectional=True, any_order=True)
    renamed = dict(far="max_distance")

    def __init__(
        self,
        site: Site,
        *,
        buckets: Annotated[int, Meta(ge=4, le=2**20), "buckets of distance"] = 32,
        max_distance: Annotated[Count, "the distance from which all fall into the last bucket"] = 128,
    ) -> None:
        super().__init__()
        *outer, _ = site.stream.leaves()
        heads = Prod(*outer)
        for axis in outer:
            axis.fixed = "all layers share one table of distances, so all need the same heads" if site.alike > 1 else ""
        key = f"t5 {buckets} {max_distance} {heads.size}"

        def table() -> Parameter:
            rows = site.axis("buckets", buckets)
            rows.ordered = True
            return site.param("table", (rows, heads), normal(0.02))

        self.table = site.shared("table", key, table)
        self.max_distance, self.causal = max_distance, site.causal

    def by_distance(self, n: int) -> Tensor:
        behind = torch.arange(2 * n - 1, device=self.table.device) - (n - 1)
        return self.table[self.bucket(behind)].T

    def bucket(self, behind: Tensor) -> Tensor:
        """The bucket of a key that lies so far behind its query."""
        count, first = self.table.shape[0], torch.zeros_like(behind)
        if not self.causal:
            count //= 2
            first = (behind < 0).long() * count
            behind = behind.abs()
        behind, exact = behind.clamp(min=0), count // 2
        ratio = (behind.clamp(min=1).to(widest_dtype(behind.device)) / exact).log()
        ratio = ratio / math.log(self.max_distance / exact)
        spread = exact + (ratio * (count - exact)).long()
        return first + torch.where(behind < exact, behind, spread.clamp(max=count - 1))
