"""Look each token up in a table of few bits; add positions where the slot holds one.

    x_t = E[token_t]  (+ P[p_t])        E = scale * code

Shapes   tokens (B,T)   x (B,T,D)   packed (tiles, bytes)
Source   arXiv 2206.01861    Family  stem
Differs  scales in half precision, fitted to the codes; x has the precision of the model's other numbers
"""

from typing import Any

import torch
from torch import Tensor

from blockyard.core import Batch, Call, Part, Position, Site
from blockyard.core.settings import Bits, Group, PositionSpec, Vocab
from blockyard.kernels.weights import dense
from blockyard.parts.linear._store import packed_buffer


class PackedTokens(Part):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, per_token=True)

    def __init__(
        self, site: Site, *, vocab: Vocab = 256, position: PositionSpec | None = None, bits: Bits = 8, group: Group = 32
    ) -> None:
        super().__init__()
        self.vocab = site.axis("vocab", vocab)
        self.packed = packed_buffer(site, vocab, site.stream.size, site.stream.size**-0.5, bits, group)
        self.like = site.buffer("like", lambda _: torch.zeros(0))  # has the precision of all that is not packed
        self.position: Position | None = site.slot("position", position)
        self.bits, self.group, self.width = bits, group, site.stream.size

    def forward(self, batch: Batch, call: Call, state: Any = None) -> tuple[Tensor, Call, Any]:
        rows = dense(self.packed, self.bits, self.group, self.width, batch.tokens.flatten())
        x = rows.to(self.like.dtype).view(*batch.tokens.shape, -1)
        if self.position is not None:
            x = self.position.at_input(x, call)
        return x, call, state
