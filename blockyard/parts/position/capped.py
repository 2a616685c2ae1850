"""Distances beyond a cap count as the cap: what is trained on short texts meets no distance that it has not seen.

    the score of a pair at distance d is that at min(d, cap), as `of` has it

With a band of the same window and a few sinks this is the lambda-shaped attention that reads texts of any length.

Shapes   as of the position inside
Source   arXiv 2308.16137    Slug  lm-infinite    Family  position
Differs  keys are stored as they were turned, and turned back where they are far
"""

from typing import Annotated

import torch
from torch import Tensor

from blockyard.core import Call, Position, Site, Spec, UsageError
from blockyard.core.settings import Count, PositionSpec


class Capped(Position):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, any_order=True)
    unrecorded = "what is far is read by other queries and keys"
    variants = (dict(cap=4), dict(cap=3, of="alibi"))

    def __init__(
        self, site: Site, *, of: PositionSpec = Spec("position", "rope"),
        cap: Annotated[Count, "the largest distance that is told from others"] = 128,
    ) -> None:  # fmt: skip
        super().__init__()
        self.of: Position = site.build("of", of)
        if type(self.of).at_input is not Position.at_input or self.of.rescores:
            raise UsageError(f"{site.path}: position:{of.name} does not work by distance, so none can be capped")
        self.cap = cap

    def prepare(self, call: Call) -> None:
        self.of.prepare(call)

    def at_qk(self, q: Tensor, k: Tensor, call: Call) -> tuple[Tensor, Tensor]:
        return self.of.at_qk(q, k, call)

    def at_far(self, q: Tensor, k: Tensor, call: Call, positions: Tensor) -> tuple[Tensor, Tensor]:
        own = call.positions[:1] if call.aligned else call.positions
        assert self.cap is not None
        far, back = self.cap - own, -positions.clamp(min=0)
        return self.of.turned(q, far, call), self.of.turned(k, back, call)

    def by_distance(self, n: int) -> Tensor | None:
        assert self.cap is not None
        within = min(n, self.cap + 1)
        table = self.of.by_distance(within)
        if table is None:
            return None
        apart = torch.arange(2 * n - 1, device=table.device) - (n - 1)
        return table[:, apart.clamp(-within + 1, within - 1) + within - 1]
