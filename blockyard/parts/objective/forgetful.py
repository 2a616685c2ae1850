"""Another objective's loss while some tokens of each row cannot be read: they keep their place, and are asked as usual.

    hidden keys: floor(share T) of the T tokens of a row, drawn anew in every step, never the first of a segment
    w_ts = 0 for every query t and hidden s, at training alone

Shapes   those of the objective
Source   arXiv 2409.12182, 2210.13432    Slug  lifegpt    Family  objective
Differs  nothing known
"""

import math
from dataclasses import replace
from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core import Batch, Objective, Site, Spec
from blockyard.core.part import Draws
from blockyard.core.settings import Fraction, ObjectiveSpec


class Forgetful(Objective):
    needs = ("any_order",)

    def __init__(
        self, site: Site, *, share: Annotated[Fraction, "of the tokens of a row, those that none reads"] = 0.15,
        objective: ObjectiveSpec = Spec("objective", "next_token"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.share, self.inner = share, site.build("objective", objective)

    def adopt(self, model: Any, before: Any) -> None:
        for claim in self.inner.needs:
            model.require(claim, f"objective:{self.inner.spec.name}")
        self.inner.adopt(model, before)

    def prepare(self, batch: Batch, draw: Draws) -> Batch:
        batch = self.inner.prepare(batch, draw)
        if not self.share:
            return batch
        shape = batch.tokens.shape[:2]
        counts = torch.ones(shape, dtype=torch.bool, device=batch.tokens.device) if batch.valid is None else batch.valid
        first, reset = counts & (counts.cumsum(1) == 1), batch.resets()
        kept = first if reset is None else first | reset
        most = torch.tensor([math.floor(self.share * int(n)) for n in counts.sum(1)], device=counts.device)
        place = draw("forgetful", tuple(shape)).masked_fill(kept | ~counts, 2.0).argsort(1).argsort(1)
        readable = (place >= most[:, None]) | kept | ~counts
        return replace(batch, readable=readable if batch.readable is None else readable & batch.readable)

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return self.inner.counts(batch)

    def after(self, model: Any) -> None:
        self.inner.after(model)

    def example(self, model: Any, rows: int, length: int, draw: Any = None) -> Batch:
        return self.inner.example(model, rows, length, draw)

    def forward(self, model: Any, batch: Batch) -> dict[str, tuple[Tensor, Tensor, float]]:
        """{term: (sum, count, weight)}."""
        return self.inner(model, batch)
