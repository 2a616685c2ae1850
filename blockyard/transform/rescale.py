"""A few channels that projections read become many times as large, and what reads them counts them as little.

    x_c <- factor x_c  and  W[:, c] <- W[:, c] / factor        c: the same few channels wherever as many are written

The model says what it said, to rounding: it is what large models do to themselves, whose few features with very large
activations break grids that are fitted to a whole row. Factors move only where that is exact (a norm's gain and all
that reads it, values and the projection behind attention); other places are left.

Source   arXiv 2208.07339, 2306.00978
Family   rescalers
Differs  channels are drawn, as the paper's large ones stand in few fixed places
"""

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor

from blockyard.core.batch import Batch
from blockyard.core.errors import UsageError
from blockyard.core.random import fold
from blockyard.core.settings import Count, Natural, Patterns, Positive
from blockyard.model.model import Model
from blockyard.transform._base import Applied, Transform, check_patterns, matches
from blockyard.transform._seams import Seam, rescaled, seams


class Rescale(Transform):
    def __init__(
        self, *, factor: Annotated[Positive, "how many times as large they become"] = 50.0,
        channels: Annotated[Count, "how many channels of each place"] = 3,
        on: Annotated[Patterns, "patterns of paths of what writes them: norms, projections"] = ("steps.*.norm",),
        seed: Annotated[Natural, "of which channels"] = 0,
    ) -> None:  # fmt: skip
        self.factor, self.channels, self.on, self.seed = factor, channels, on, seed

    def plan(self, model: Model) -> dict[str, str]:
        return dict.fromkeys([seam.path for seam in self._where(model, seams(model))], self._words())

    def apply(self, model: Model, data: Sequence[Batch] = ()) -> Applied:
        every = seams(model)
        where = self._where(model, every)
        made = rescaled(model, {seam.path: self._factors(seam) for seam in where}, where)
        left = tuple(seam.path for seam in every if seam.path not in {each.path for each in where})
        channels = {seam.path: self.drawn(seam.size).tolist() for seam in where}
        return Applied(made, dict.fromkeys(channels, self._words()), left, {"channels": channels})

    def drawn(self, size: int) -> Tensor:
        """Which of so many channels: the same ones in all places of a size."""
        draw = torch.Generator().manual_seed(fold("rescale", self.seed, size))
        return torch.randperm(size, generator=draw)[: self.channels].sort().values

    def _factors(self, seam: Seam) -> Tensor:
        found = torch.ones(seam.size, dtype=torch.float64)
        found[self.drawn(seam.size)] = 1 / self.factor
        return found

    def _words(self) -> str:
        return f"{self.channels} channels {self.factor:g} times as large"

    def _where(self, model: Model, every: list[Seam]) -> list[Seam]:
        check_patterns(model, self.on, [seam.path for seam in every])
        found = [seam for seam in every if matches(seam.path, self.on)]
        if not found:
            known = ", ".join(seam.path for seam in every[:6]) or "none"
            raise UsageError(f"rescale: nothing at {', '.join(self.on)} can be rescaled exactly; what can is {known}")
        return found
