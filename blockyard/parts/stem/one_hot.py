"""Each token as what it is: a one at the channel of its id; where wanted, a one at the channel of its place beside it.

    x_t = [e_id  (| e_place)]        e in R^v, v the width, or half of it        a place from v on: zeros

Nothing is learned. Ids take the first channels of the v, so v is at least the vocabulary.

Shapes   tokens (B,T)   x (B,T,D), D = v or 2 v
Source   arXiv 2305.16380, 2306.01128    Slug  scan-and-snap    Family  stem
Differs  nothing known
"""

from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core import Axis, Batch, Call, Site, Stem, UsageError
from blockyard.core.settings import Vocab
from blockyard.core.variables import Names, Programmed, Told


class OneHot(Stem, Programmed):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, any_order=True, bidirectional=True)
    unrecorded = "a comparison of ids is no instruction yet"
    variants = ({}, dict(vocab=9, places=True))

    def __init__(
        self, site: Site, *, vocab: Annotated[Vocab, "tokens of the vocabulary; none: as many as there is room for"]
        | None = None,
        places: Annotated[bool, "whether a token says where it stands, too"] = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.values = site.divide("what a token says", site.stream.size, 2 if places else 1)
        self.vocab = site.axis("vocab", vocab or self.values)
        if self.vocab.size > self.values:
            raise UsageError(
                f"{site.path}: {self.vocab.size} ids need dim={self.vocab.size * (2 if places else 1)} or more, not "
                f"{site.stream.size}"
            )
        self.vocab.ordered = True
        if isinstance(site.stream, Axis):
            site.stream.ordered, site.stream.fixed = True, "its channels are ids"
        self.places = places
        self.like = site.buffer("like", lambda _: torch.zeros(0))  # of the precision that the model is in

    def example(self, rows: int, length: int, draw: Any = None) -> Batch:
        return Batch(torch.randint(0, self.vocab.size, (rows, length), generator=draw))

    def forward(self, batch: Batch, call: Call, state: Any = None) -> tuple[Tensor, Call, Any]:
        said = (batch.tokens, call.positions) if self.places else (batch.tokens,)
        kinds = torch.arange(self.values, device=batch.tokens.device)
        x = torch.cat([each[..., None] == kinds for each in said], -1)
        return x.to(self.like.dtype), call, state

    def told(self, known: Names, step: int) -> Told:
        lines = ["token = list(tokens)"]
        if self.places:
            lines.append(f"place = [t if t < {self.values} else None for t in range(len(tokens))]")
        return Told(lines, Names(["token", "place"] if self.places else ["token"]))
