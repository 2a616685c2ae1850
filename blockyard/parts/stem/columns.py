"""Read a row of a table, one token a column: numbers along a vector, words from a table, and a vector where one lacks.

    x_j = n_j + c_j v_j     a number c        x_j = n_j + E_j[c]     the c-th word        x_j = m_j     nothing

A word that the column has not been told of is its word 0.

Shapes   cells (B,C) float, not a number where one lacks   x (B,C,D)   n, m (C,D)
Source   arXiv 2106.11959    Family  stem
Differs  words count from 1, and missing cells have vectors; the token that the head reads is the head's affair
"""

from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core import Batch, Call, Site, Stem, normal
from blockyard.core.settings import Natural


class Columns(Stem):
    reads = "columns"
    around = dict(head=("values", {}))
    claims = dict(causal=True, row_independent=True, bidirectional=True)
    variants = (dict(levels=(0, 3) * 20), dict(levels=(0,) * 40), dict(levels=(2,) * 40))

    def __init__(
        self, site: Site, *,
        levels: Annotated[tuple[Natural, ...], "how many words each column knows; 0: it holds numbers"] = (0, 0, 2),
    ) -> None:  # fmt: skip
        super().__init__()
        self.levels, std = levels, site.stream.size**-0.5
        numbers = [j for j, count in enumerate(levels) if not count]
        worded = [j for j, count in enumerate(levels) if count]
        tops = [levels[j] for j in worded]
        columns, stream = _axis(site, "columns", len(levels)), site.stream
        self.name = site.param("name", (columns, stream), normal(std))
        self.missing = site.param("missing", (columns, stream), normal(std))
        self.columns, self.slope, self.table = columns, None, None
        if numbers:
            self.numbers = site.buffer("numbers", lambda _: torch.tensor(numbers))
            self.slope = site.param("slope", (_axis(site, "slopes", len(numbers)), stream), normal(std))
        if worded:
            self.worded = site.buffer("worded", lambda _: torch.tensor(worded))
            self.tops = site.buffer("tops", lambda _: torch.tensor(tops))
            self.first = site.buffer("first", lambda _: torch.tensor([sum(tops[:i]) + i for i in range(len(tops))]))
            rows = _axis(site, "words", sum(tops) + len(tops))
            self.table = site.param("table", (rows, stream), normal(std))

    def example(self, rows: int, length: int, draw: Any = None) -> Batch:
        cells = torch.randn(rows, len(self.levels), generator=draw)
        for j, count in enumerate(self.levels):
            if count:
                cells[:, j] = torch.randint(0, count + 1, (rows,), generator=draw).float()
        return Batch(cells.masked_fill(torch.rand(cells.shape, generator=draw) < 0.1, torch.nan))

    def forward(self, batch: Batch, call: Call, state: Any = None) -> tuple[Tensor, Call, Any]:
        cells, there = batch.tokens.nan_to_num(), batch.tokens.isfinite()
        x = self.name.expand(*cells.shape, -1)
        if self.slope is not None:
            values = cells[:, self.numbers, None].to(x.dtype)
            x = x.index_add(1, self.numbers, values * self.slope)
        if self.table is not None:
            ids = cells[:, self.worded].long().clamp(min=0)
            ids = ids.masked_fill(ids > self.tops, 0) + self.first
            x = x.index_add(1, self.worded, self.table[ids])
        return torch.where(there[..., None], x, self.missing), call.laid(len(self.levels)), state


def _axis(site: Site, name: str, size: int) -> Any:
    made = site.axis(name, size)
    made.fixed = "the table has these columns and words"
    return made
