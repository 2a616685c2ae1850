"""Look each token up in a table of its own channels, and put a vector for its place beside it.

    x_t = [E[token_t] ; P[p_t]]

What a token is and where it stands lie in different channels, so that attention can ask for either alone. The stream is
as wide as both: its channels are the tables' and cannot be taken apart.

Shapes   tokens (B,T)   x (B,T,D)   E (V,D-K)   P (length,K)
Source   arXiv 2412.04703    Slug  search-struggle    Family  stem
Differs  learned vectors of any width (paper: one number a token and a place, which makes the stream V + length wide)
"""

from typing import Annotated, Any

import torch
from torch import Tensor
from torch.compiler import is_compiling

from blockyard.core import Batch, Call, Site, Spec, Stem, UsageError, normal
from blockyard.core.settings import Count, StoreSpec, Vocab


class ConcatPositions(Stem):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True)
    variants = ({}, dict(places=3))

    def __init__(
        self, site: Site, *, vocab: Vocab = 256,
        places: Annotated[Count, "channels for the place; none: half of the stream"] | None = None,
        length: Annotated[Count, "how many places are learned; none: the length that the model expects"] | None = None,
        store: StoreSpec = Spec("store", "dense"),
    ) -> None:  # fmt: skip
        super().__init__()
        wide = places or site.stream.size // 2
        if not 0 < wide < site.stream.size:
            raise UsageError(
                f"{site.path}: places={wide} leave no channels for tokens in a stream of {site.stream.size}"
            )
        self.vocab, self.length = site.axis("vocab", vocab), site.axis("length", length or site.length)
        self.vocab.ordered = self.length.ordered = True
        what, where = site.axis("what", site.stream.size - wide), site.axis("where", wide)
        for axis in (what, where, *site.stream.leaves()):
            axis.fixed = "the stream's channels are those of two tables, side by side"
        self.store, self.tokens = site.matrix("tokens", store, self.vocab, what, what.size**-0.5)
        self.places = site.param("places", (self.length, where), normal(wide**-0.5))

    def example(self, rows: int, length: int, draw: Any = None) -> Batch:
        return Batch(torch.randint(0, self.vocab.size, (rows, length), generator=draw))

    def forward(self, batch: Batch, call: Call, state: Any = None) -> tuple[Tensor, Call, Any]:
        what = self.store.embedding(batch.tokens, self.tokens).to(self.places.dtype)
        longest = what.shape[1] if call.past is None else call.past.positions.shape[1]
        if longest > self.length.size and not is_compiling():
            longest = longest if call.aligned else int(call.positions.max()) + 1  # slots may be empty
            if longest > self.length.size:
                raise UsageError(f"{self.path}: {longest} tokens, but places are learned up to {self.length.size}")
        where = self.places[call.positions.clamp(max=self.length.size - 1)]
        return torch.cat([what, where.expand(*what.shape[:2], -1)], -1), call, state
