"""Of what each model learned since the base most numbers are drawn away, the rest scaled up, and the sum added.

    w = w_0 + scale sum_i a_i m_i (w_i - w_0) / (1 - drop)        m_i ~ Bernoulli(1 - drop), for every number

What a model adds is the same in expectation, and two models that keep few numbers seldom change the same one.

Source   arXiv 2311.03099
Family   merges
Differs  weights sum to 1 where none are given; paper: the ways of merging behind it are others' (here the sum)
"""

from collections.abc import Sequence
from typing import Annotated

from torch import Tensor

from blockyard.blend._base import Blend, Tensors, moved, shares
from blockyard.core.random import uniform
from blockyard.core.settings import Dropout, Natural, Number, Weights


class Dare(Blend):
    based = True

    def __init__(
        self, *, drop: Annotated[Dropout, "the share of a model's changes that is drawn away"] = 0.9,
        weights: Weights | None = None,
        scale: Annotated[Number, "what the sum counts"] = 1.0,
        seed: Annotated[Natural, "of what is drawn away"] = 0,
    ) -> None:  # fmt: skip
        self.drop, self.weights, self.scale, self.seed = drop, weights, scale, seed

    def __call__(self, models: Sequence[Tensors], base: Tensors) -> dict[str, Tensor]:
        each = shares(self.weights, len(models), whole=self.weights is None)
        learned = moved(models, base)
        return {
            path: value + self.scale * sum(a * self._thinned(own[path], i, path)
                                           for i, (a, own) in enumerate(zip(each, learned)))
            for path, value in base.items()
        }  # fmt: skip

    def _thinned(self, learned: Tensor, place: int, path: str) -> Tensor:
        """What is left of a task vector, scaled up to make up for the rest."""
        kept = uniform(("dare", self.seed, place, path), tuple(learned.shape), learned.device) >= self.drop
        return kept * learned / (1 - self.drop)
