"""Weights in few bits, each at the nearest place of its grid: what cleverer roundings are held against.

    q = round(w / s)        the grid of every group from its smallest and its largest number

4 and 8 symmetric bits are kept packed where a store has such groups; other grids are kept as full numbers that lie on
them, and the report says the bytes of their codes.

Source   arXiv 1712.05877
Family   quantisers
Differs  projections alone: tables are left as they are, as `gptq` leaves them
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch

from blockyard.core.batch import Batch
from blockyard.core.settings import Count, Patterns
from blockyard.model.model import Model
from blockyard.transform._base import Applied, Transform
from blockyard.transform._grid import Grid, rebuilt, told
from blockyard.transform._sweep import left_of, wanted


class Rtn(Transform):
    settles = True

    def __init__(
        self, *, bits: Annotated[Literal[2, 3, 4, 8], "bits a number"] = 4,
        group: Annotated[Count, "numbers of a row that share a grid; none: all of it"] | None = 32,
        symmetric: Annotated[bool, "whether 0 is the middle of the grid; if not, it has a zero point"] = True,
        keep: Annotated[Patterns, "patterns of paths of projections that stay as they are"] = (),
    ) -> None:  # fmt: skip
        self.grid, self.keep = Grid(bits, group, symmetric), keep

    def plan(self, model: Model) -> dict[str, str]:
        return dict.fromkeys([part.path for part in wanted(model, self.keep)], str(self.grid))

    @torch.no_grad()
    def apply(self, model: Model, data: Sequence[Batch] = ()) -> Applied:
        coded = {part.path: self.grid.nearest(part.weight.double()) for part in wanted(model, self.keep)}
        return Applied(rebuilt(model, coded), self.plan(model), left_of(model, coded), told(coded))
