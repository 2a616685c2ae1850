"""Look each token up in a table and normalise what is found.

    x_t = N(E[token_t])

Shapes   tokens (B,T)   x (B,T,D)   E (V,D)
Source   none    Family  stem
Differs  nothing known
"""

from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core import Batch, Call, Site, Spec, Stem
from blockyard.core.settings import NormSpec, StoreSpec, Vocab


class MyStem(Stem):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, per_token=True)

    def __init__(
        self, site: Site, *, vocab: Vocab = 256,
        norm: Annotated[NormSpec, "the norm of what the table holds"] = Spec("norm", "rms"),
        store: StoreSpec = Spec("store", "dense"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.vocab = site.axis("vocab", vocab)  # heads look for `stem.vocab`, a tied one for `stem.table`
        self.vocab.ordered = True
        self.store, self.table = site.matrix("table", store, self.vocab, site.stream, site.stream.size**-0.5)
        self.norm = site.build("norm", norm)

    def example(self, rows: int, length: int, draw: Any = None) -> Batch:
        """What the model is counted, measured and tested with."""
        return Batch(torch.randint(0, self.vocab.size, (rows, length), generator=draw))

    def forward(self, batch: Batch, call: Call, state: Any = None) -> tuple[Tensor, Call, Any]:
        return self.norm(self.store.embedding(batch.tokens, self.table), call), call, state
