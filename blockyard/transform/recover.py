"""The model trains on: what it lost by becoming smaller, it may learn again.

    theta <- its own training, for `tokens` more, from `rate` times its peak rate down

It is trained as it was: the same objective, data and optimiser, on rows in an order of their own. What is packed, or
lies on a grid, does not learn: this goes before quantisers.

Source   arXiv 2305.11627
Family   pruners
Differs  every parameter learns, where the source trains a product of thin matrices beside each projection
"""

from collections.abc import Sequence
from typing import Annotated

from torch import nn

from blockyard.core.batch import Batch
from blockyard.core.errors import UsageError
from blockyard.core.settings import Share, Tokens
from blockyard.model.model import Model
from blockyard.transform._base import Applied, Transform


class Recover(Transform):
    def __init__(
        self, *, tokens: Annotated[Tokens, "tokens that it trains for"] = 200_000,
        rate: Annotated[Share, "of the peak rate that the model was trained with"] = 0.1,
    ) -> None:  # fmt: skip
        self.trained, self.rate = tokens, rate

    def plan(self, model: Model) -> dict[str, str]:
        for part in model.parts():
            store = getattr(part, "store", None)
            if store is not None and not isinstance(getattr(part, store.name), nn.Parameter):
                raise UsageError(f"recover: {part.path} is kept as store:{store.spec.name}, which does not learn")
        owners = (name.rpartition(".")[0] for name, _ in model.named_parameters())
        return dict.fromkeys(owners, f"trained for {self.trained:,} tokens")

    def apply(self, model: Model, data: Sequence[Batch] = ()) -> Applied:
        planned = self.plan(model)
        if next(model.parameters()).is_meta:  # an outline has nothing to learn by
            return Applied(model, planned)
        if self.learn is None:
            raise UsageError("recover trains, for which it needs to be told how: see blockyard shrink, or compare")
        return Applied(self.learn(model, self.trained, self.rate), planned)
