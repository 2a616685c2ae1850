"""Look each token up in a table; add positions where the slot holds one.

    x_t = N(scale E[token_t]  (+ P[p_t]))        N nothing, or a norm

Shapes   tokens (B,T)   x (B,T,D)   E (V,D)
Source   none    Family  stem
Differs  nothing known
"""

from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core import Batch, Call, Site, Spec, Stem
from blockyard.core.part import acting
from blockyard.core.settings import NormSpec, PositionSpec, Positive, StoreSpec, Vocab
from blockyard.parts.stem._lookup import look_up, precision


class Tokens(Stem):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, per_token=True)
    points = ("embedded",)
    replaces = dict(packed_tokens=dict(store="packed"))

    def __init__(
        self, site: Site, *, vocab: Vocab = 256, position: PositionSpec | None = None,
        store: StoreSpec = Spec("store", "dense"),
        std: Annotated[Positive, "how far its numbers spread at first; none: one over the root of the width"]
        | None = None,
        scale: Annotated[Positive, "factor on what is looked up"] = 1.0,
        norm: Annotated[NormSpec, "the norm of what it gives; none: no norm"] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.vocab = site.axis("vocab", vocab)
        self.vocab.ordered = True
        self.store, self.table = site.matrix("table", store, self.vocab, site.stream, std or site.stream.size**-0.5)
        self.like, self.scale = precision(site, self.table), scale
        self.position = acting(site.slot("position", position), "at_input")
        self.norm = site.slot("norm", norm)

    def example(self, rows: int, length: int, draw: Any = None) -> Batch:
        return Batch(torch.randint(0, self.vocab.size, (rows, length), generator=draw))

    def forward(self, batch: Batch, call: Call, state: Any = None) -> tuple[Tensor, Call, Any]:
        x = look_up(self, batch.tokens)
        x = self.point("embedded", x if self.scale == 1 else x * self.scale, call)
        if self.position is not None:
            x = self.position.at_input(x, call)
        return x if self.norm is None else self.norm(x, call), call, state
