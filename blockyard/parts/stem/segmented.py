"""Look each token up in a table, add a vector for the sentence it is of and one for its place, and normalise.

    x_t = W N(E[token_t] + K[kind_t] (+ P[p_t]))        W: from the table's channels to the stream; none where equal

The kinds of a batch stand in `batch.more["kinds"]` (B,T); without them every token is of kind 0.

Shapes   tokens, kinds (B,T)   x (B,T,D)   E (V,E)   K (kinds,E)   W (D,E)
Source   arXiv 1810.04805    Family  stem
Differs  no dropout; the narrow table is that of arXiv 1909.11942
"""

from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core import Batch, Call, Site, Spec, Stem, normal
from blockyard.core.part import acting
from blockyard.core.settings import Count, NormSpec, PositionSpec, StoreSpec, Vocab


class Segmented(Stem):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, per_token=True)
    variants = ({}, dict(dim=8))

    def __init__(
        self, site: Site, *, vocab: Vocab = 256, kinds: Annotated[Count, "how many kinds of sentences there are"] = 2,
        dim: Annotated[Count, "channels of the tables; none: those of the stream"] | None = None,
        position: PositionSpec | None = None,
        norm: Annotated[NormSpec, "the norm of the sum; none: no norm"] | None = Spec("norm", "layer"),
        store: StoreSpec = Spec("store", "dense"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.vocab, self.kinds = site.axis("vocab", vocab), site.axis("kinds", kinds)
        self.vocab.ordered = self.kinds.ordered = True
        embed = site.stream if dim is None else site.axis("embed", dim)
        self.store, self.table = site.matrix("table", store, self.vocab, embed, embed.size**-0.5)
        self.kind = site.param("kind", (self.kinds, embed), normal(0.02))
        self.position = acting(site.slot("position", position, on=embed), "at_input")
        self.norm = site.slot("norm", norm, on=embed)
        self.widen = None if dim is None else site.linear("widen", embed, site.stream, bias=True)

    def example(self, rows: int, length: int, draw: Any = None) -> Batch:
        return Batch(torch.randint(0, self.vocab.size, (rows, length), generator=draw))

    def forward(self, batch: Batch, call: Call, state: Any = None) -> tuple[Tensor, Call, Any]:
        x = self.store.embedding(batch.tokens, self.table).to(self.kind.dtype)
        kinds = batch.more.get("kinds")
        x = x + (self.kind[0] if kinds is None else self.kind[kinds])
        if self.position is not None:
            x = self.position.at_input(x, call)
        if self.norm is not None:
            x = self.norm(x, call)
        return x if self.widen is None else self.widen(x, call), call, state
