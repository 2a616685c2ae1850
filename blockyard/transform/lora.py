"""Every projection gets a product of two thin matrices beside it, which starts at zero: what adapts while it stays.

    y = F(x) + (alpha / rank) B A x        A drawn, B = 0 at first

The new model says what the old one said, to the bit. A phase that trains `attached` trains A and B alone; `merge` adds
them to the matrix, `detach` takes them off.

Source   arXiv 2106.09685
Family   adapters
Differs  all projections inside the steps, where none are named; fused ones get one pair
"""

from collections.abc import Sequence
from typing import Annotated

from blockyard.core.batch import Batch
from blockyard.core.settings import Dropout, Natural, Patterns, Positive, Rank
from blockyard.model.model import Model
from blockyard.transform._attach import OnProjections
from blockyard.transform._base import Applied, Transform


class Lora(Transform):
    def __init__(
        self, *, rank: Rank = 8,
        alpha: Annotated[Positive, "what is added counts alpha / rank times; none: once"] | None = None,
        dropout: Annotated[Dropout, "the share of what is read that training leaves out"] = 0.0,
        on: Annotated[Patterns, "patterns of paths of the projections, with * for any word"] = ("steps.*",),
        seed: Annotated[Natural, "of the first numbers of what is attached"] = 0,
    ) -> None:  # fmt: skip
        settings = dict(rank=rank, alpha=alpha, dropout=dropout or None)
        self.pairs = OnProjections("lora", f"rank {rank}", on, seed, **settings)

    def plan(self, model: Model) -> dict[str, str]:
        return self.pairs.plan(model)

    def apply(self, model: Model, data: Sequence[Batch] = ()) -> Applied:
        return self.pairs.apply(model)
