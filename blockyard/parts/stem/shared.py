"""Look each token up in the table of another stem, that of a tower.

    x_t = E[token_t]        E: the other stem's

Shapes   tokens (B,T)   x (B,T,D)   E (V,D)
Source   arXiv 1910.10683    Family  stem
Differs  nothing known
"""

from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core import Batch, Call, Site, Stem, UsageError
from blockyard.core.settings import Word
from blockyard.parts.stem._lookup import look_up, precision


class Shared(Stem):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, per_token=True)
    around = dict(tower=("source", dict(dim=24)))

    def __init__(
        self, site: Site, *, tower: Annotated[Word, "the name of the tower whose stem's table it is"] = "source"
    ) -> None:
        super().__init__()
        theirs = site.memory_of(tower)
        path = site.beside(f"towers.{tower}.stem")
        vocab = site.axis_of(f"towers.{tower}.stem.vocab")
        if vocab is None or theirs.size != site.stream.size:
            raise UsageError(
                f"{site.path}: shares the table of {path}, which must be one of tokens, {site.stream.size} wide"
            )
        for axis in (*theirs.leaves(), *site.stream.leaves()):
            axis.fixed = "two streams share a table"
        self.vocab = site.context.axes[site.child("vocab")] = vocab
        self.store, self.table = site.reuse("table", f"{path}.table")
        self.like = precision(site, self.table)

    def example(self, rows: int, length: int, draw: Any = None) -> Batch:
        return Batch(torch.randint(0, self.vocab.size, (rows, length), generator=draw))

    def forward(self, batch: Batch, call: Call, state: Any = None) -> tuple[Tensor, Call, Any]:
        return look_up(self, batch.tokens), call, state
