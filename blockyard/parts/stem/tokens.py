"""Look each token up in a table; add positions where the slot holds one.

    x_t = E[token_t]  (+ P[p_t])

Shapes   tokens (B,T)   x (B,T,D)   E (V,D)
Source   none    Family  stem
Differs  nothing known
"""

from typing import Any

from torch import Tensor
from torch.nn.functional import embedding

from blockyard.core import Batch, Call, Part, Position, Site, normal
from blockyard.core.settings import PositionSpec, Vocab


class Tokens(Part):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, per_token=True)

    def __init__(self, site: Site, *, vocab: Vocab = 256, position: PositionSpec | None = None) -> None:
        super().__init__()
        self.vocab = site.axis("vocab", vocab)
        self.vocab.ordered = True
        self.table = site.param("table", (self.vocab, site.stream), normal(site.stream.size**-0.5))
        self.position: Position | None = site.slot("position", position)

    def forward(self, batch: Batch, call: Call, state: Any = None) -> tuple[Tensor, Call, Any]:
        x = embedding(batch.tokens, self.table)
        if self.position is not None:
            x = self.position.at_input(x, call)
        return x, call, state
