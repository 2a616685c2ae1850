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
from blockyard.core.spec import Spec, linear
from blockyard.model.model import Model
from blockyard.transform._attach import meant, projections, put
from blockyard.transform._base import Applied, Transform


class Lora(Transform):
    def __init__(
        self, *, rank: Rank = 8,
        alpha: Annotated[Positive, "what is added counts alpha / rank times; none: once"] | None = None,
        dropout: Annotated[Dropout, "the share of what is read that training leaves out"] = 0.0,
        on: Annotated[Patterns, "patterns of paths of the projections, with * for any word"] = ("steps.*",),
        seed: Annotated[Natural, "of the first numbers of what is attached"] = 0,
    ) -> None:  # fmt: skip
        given = dict(rank=rank, alpha=alpha, dropout=dropout or None)
        self.spec = linear("lora", **{name: value for name, value in given.items() if value is not None})
        self.words, self.on, self.seed = f"rank {rank}", on, seed

    def plan(self, model: Model) -> dict[str, str]:
        return dict.fromkeys(self._where(model), self.words)

    def apply(self, model: Model, data: Sequence[Batch] = ()) -> Applied:
        return put(model, self._where(model), self.words, self.seed, len(projections(model)), "projections")

    def _where(self, model: Model) -> dict[str, Spec]:
        found = meant(projections(model), self.on, "lora", "projection")
        return {part.path: self.spec for part in found}
