"""Add to a score a learned number per head and step of rows and columns from key to query.

    bias_h(q, k) = table[i_q - i_k, j_q - j_k, h]        i, j: row and column of a token; further than `size` as at it

Shapes   table (2 size - 1, 2 size - 1, H)
Source   arXiv 2103.14030    Family  position
Differs  nothing known
"""

from typing import Annotated

import torch
from torch import Tensor

from blockyard.core import Call, Position, Prod, Site, UsageError, normal
from blockyard.core.settings import Count


class RelativeGrid(Position):
    on_grid = True
    claims = dict(row_independent=True, bidirectional=True)
    around = dict(stem=("conv_patches", dict(height=6, width=4, channels=1, kernel=1, stride=1)), head=("classes", {}))
    variants = (dict(size=6), dict(size=3))

    def __init__(self, site: Site, *, size: Annotated[Count, "rows and columns that are told apart"] = 7) -> None:
        super().__init__()
        heads = Prod(*list(site.stream.leaves())[:-1])
        sides = site.axis("rows", 2 * size - 1), site.axis("columns", 2 * size - 1)
        for side in sides:
            side.fixed = "steps to all sides are told apart, as far as the size says"
        self.table, self.size = site.param("table", (*sides, heads), normal(0.02)), size

    def bias(self, call: Call, positions: Tensor | None = None) -> Tensor | None:
        if call.grid is None:
            raise UsageError(f"{self.path}: tells rows and columns of a grid apart, and these tokens lie in a row")
        at = torch.arange(call.grid[0] * call.grid[1], device=self.table.device)
        place = torch.stack([at // call.grid[1], at % call.grid[1]], -1)
        apart = (place[:, None] - place[None]).clamp(1 - self.size, self.size - 1) + self.size - 1
        return self.table[apart[..., 0], apart[..., 1]].permute(2, 0, 1)[None]
