"""Weights in few bits, each rounded up or down, which is learned.

    W^ = s (clip(floor(W / s) + h + z, lowest, highest) - z)        h = clip(1.2 sigmoid(V) - 0.1, 0, 1)
    loss + weight mean(1 - |2 h - 1|^beta)        beta falls from 20 to 2; none in the first fifth of the steps

s and z are those of the grid that is cut where that loses least; V makes h what W is above its floor at first. At last
a number is rounded up where h is half at least: by less than one code, whatever it is. Learned block by block.

Source   arXiv 2004.10568
Family   quantisers
Differs  blocks and not single projections; the loss counts as a share of the first one; the one that is kept is the
         lowest on all data; tables are left as they are
"""

from collections.abc import Sequence
from math import cos, pi
from typing import Annotated, Literal

import torch
from torch import Tensor

from blockyard.core.batch import Batch
from blockyard.core.settings import Count, Natural, NonNegative, Patterns, Positive
from blockyard.model.model import Model
from blockyard.transform._base import Applied, Transform, batches
from blockyard.transform._grid import Coded, Grid, grid_of, rebuilt, told
from blockyard.transform._reconstruct import Fit, Rounding, reconstruct
from blockyard.transform._sweep import left_of, wanted

WIDE, LOW = 1.2, -0.1  # of h before it is clipped, so that both ends are reached
SHARP, BLUNT, FREE = 20.0, 2.0, 0.2  # beta at first and at last, and the share of steps without a penalty


class UpOrDown(Rounding):
    """The rounding of one matrix (O,I), in double precision."""

    def __init__(self, weight: Tensor, grid: Grid, weigh: float) -> None:
        self.grid, self.weigh = grid, weigh
        self.begun = grid.nearest(weight.detach(), cut=True)
        x = weight.detach() / self.begun.scales[:, self.begun.at]
        self.floor = x.floor()
        self.up = torch.logit((x - self.floor - LOW) / WIDE)
        self.learned = (self.up,)

    def share(self) -> Tensor:
        """(O,I) h."""
        return (WIDE * torch.sigmoid(self.up) + LOW).clamp(0, 1)

    def _placed(self, share: Tensor) -> Tensor:
        """(O,I) codes of what is that far above its floor."""
        return (self.floor + share + self.begun.zeros[:, self.begun.at]).clamp(*self.grid.ends)

    def soft(self) -> Tensor:
        at = self.begun.at
        return self.begun.scales[:, at] * (self._placed(self.share()) - self.begun.zeros[:, at])

    @torch.no_grad()
    def coded(self) -> Coded:
        up = (self.share() >= 0.5).to(self.floor.dtype)
        return Coded(self._placed(up), self.begun.scales, self.begun.zeros, self.grid)

    def penalty(self, progress: float) -> Tensor | float:
        if progress < FREE:
            return 0.0
        beta = BLUNT + (SHARP - BLUNT) * (1 + cos(pi * (progress - FREE) / (1 - FREE))) / 2
        return self.weigh * (1 - (2 * self.share() - 1).abs() ** beta).mean()


class Adaround(Transform):
    shown = True
    settles = True
    example = dict(steps=5)

    def __init__(
        self, *, bits: Annotated[Literal[2, 3, 4, 8], "bits a number"] = 4,
        group: Annotated[Count | Literal["matrix"], "numbers of a row that share a grid; none: all of it; or a matrix"]
        | None = 32,
        symmetric: Annotated[bool, "whether 0 is the middle of the grid; if not, it has a zero point"] = True,
        steps: Annotated[Count, "steps of the fit of a block"] = 300, rate: Annotated[Positive, "of the fit"] = 0.02,
        weigh: Annotated[NonNegative, "how much it counts that numbers are neither up nor down"] = 0.1,
        tokens: Annotated[Count, "tokens of a step, in whole rows"] = 1024,
        keep: Annotated[Patterns, "patterns of paths of projections that stay as they are"] = (),
        seed: Annotated[Natural, "of the order of the data"] = 0,
    ) -> None:  # fmt: skip
        self.grid, self.keep, self.weigh = grid_of(bits, group, symmetric), keep, weigh
        self.fit = Fit(steps, rate, tokens, seed)

    def plan(self, model: Model) -> dict[str, str]:
        return dict.fromkeys([part.path for part in wanted(model, self.keep)], f"{self.grid}, learned up or down")

    def apply(self, model: Model, data: Sequence[Batch] = ()) -> Applied:
        planned, shown = self.plan(model), batches(data, "transform:adaround")

        def make(weight: Tensor) -> UpOrDown:
            return UpOrDown(weight, self.grid, self.weigh)

        coded, lost = reconstruct(model, shown, list(planned), make, self.grid, self.fit)
        return Applied(rebuilt(model, coded), planned, left_of(model, coded), {**told(coded), "block_error": lost})
