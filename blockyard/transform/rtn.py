"""Weights in few bits, each at the nearest place of its grid: what cleverer roundings are held against.

    q = round(w / s)        the grid of every group from its smallest and its largest number, or cut

A cut grid is the one of a hundred shares of that range that loses least, by the power 2.4.

4 and 8 symmetric bits are kept packed where a store has such groups; other grids are kept as full numbers that lie on
them, and the report says the bytes of their codes.

Source   arXiv 1712.05877, 2306.00317
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
from blockyard.transform._grid import grid_of, rebuilt, told
from blockyard.transform._sweep import left_of, wanted


class Rtn(Transform):
    settles = True

    def __init__(
        self, *, bits: Annotated[Literal[2, 3, 4, 8], "bits a number"] = 4,
        group: Annotated[Count | Literal["matrix"], "numbers of a row that share a grid; none: all of it; or a matrix"]
        | None = 32,
        symmetric: Annotated[bool, "whether 0 is the middle of the grid; if not, it has a zero point"] = True,
        ends: Annotated[Literal["kept", "cut"], "whether a grid reaches to the ends, or is cut where less is lost"]
        = "kept",
        keep: Annotated[Patterns, "patterns of paths of projections that stay as they are"] = (),
    ) -> None:  # fmt: skip
        self.grid, self.cut, self.keep = grid_of(bits, group, symmetric), ends == "cut", keep

    def plan(self, model: Model) -> dict[str, str]:
        return dict.fromkeys([part.path for part in wanted(model, self.keep)], str(self.grid))

    @torch.no_grad()
    def apply(self, model: Model, data: Sequence[Batch] = ()) -> Applied:
        coded = {part.path: self.grid.nearest(part.weight.double(), self.cut) for part in wanted(model, self.keep)}
        return Applied(rebuilt(model, coded), self.plan(model), left_of(model, coded), told(coded))
