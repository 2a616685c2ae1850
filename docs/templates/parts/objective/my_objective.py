"""Another objective, and logits that are kept near zero.

    loss = loss of `inner`  +  weight * mean of (log sum exp logits_t)^2

Shapes   logits (B,T,V)   tokens (B,T)
Source   arXiv 2204.02311    Family  objective
Differs  nothing known
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Batch, Objective, Site, Spec
from blockyard.core.settings import NonNegative, ObjectiveSpec


class MyObjective(Objective):
    """Terms by name, {name: (sum, count, weight)}; `counts` says the counts before any forward."""

    def __init__(
        self, site: Site, *, inner: Annotated[ObjectiveSpec, "what else is asked"] = Spec("objective", "next_token"),
        weight: Annotated[NonNegative, "how much the size of logits costs"] = 1e-4,
    ) -> None:  # fmt: skip
        super().__init__()
        self.inner, self.weight = site.build("inner", inner), weight
        self.needs = self.inner.needs  # what a model must promise

    def asked(self, batch: Batch) -> Tensor:
        """(B,T) 1 where a token counts, else 0."""
        return batch.tokens.new_ones(batch.tokens.shape) if batch.valid is None else batch.valid.long()

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {**self.inner.counts(batch), "size": self.asked(batch).sum()}

    def forward(self, model: Any, batch: Batch) -> dict[str, tuple[Tensor, Tensor, float]]:
        out, asked = model(batch), self.asked(batch)
        size = (out.logits.float().logsumexp(-1).square() * asked).sum()
        return {**self.inner(lambda _: out, batch), "size": (size, asked.sum(), self.weight)}  # one forward for both
