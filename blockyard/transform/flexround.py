"""Weights in few bits by division: every number has a divisor of its own, learned together with the step of its grid.

    W^ = s (clip(round(W / (s S)) + z, lowest, highest) - z)        S = exp(L + r), s = s_0 exp(l); 0 at first: L, r, l

L (O,I) is of each number, r (O,1) of each row, l (O,G) of each grid; s_0 and z are those of the grid that is cut where
that loses least. What rounding and clipping do has the slope of 1 inside the grid and 0 beyond its ends, so that the
slope of a divisor is as large as its weight: large weights move further, by more than one code where need be, never to
the other side of 0. They are learned block by block, so that a block says what it said. The codes and s are kept, the
divisors are not.

Source   arXiv 2306.00317    Slug  flexround
Family   quantisers
Differs  steps of half precision; the loss that is kept is that of all data, the first one included; a batch is rows of
         the data; tables are left as they are; no divisors of low rank
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor

from blockyard.core.batch import Batch
from blockyard.core.settings import Count, Natural, Patterns, Positive
from blockyard.model.model import Model
from blockyard.transform._base import Applied, Transform, batches
from blockyard.transform._grid import Coded, Grid, grid_of, rebuilt, told
from blockyard.transform._reconstruct import Fit, Rounding, reconstruct, straight
from blockyard.transform._sweep import left_of, wanted


class Divided(Rounding):
    """The rounding of one matrix (O,I), in double precision."""

    def __init__(self, weight: Tensor, grid: Grid) -> None:
        self.weight, self.grid = weight.detach(), grid
        self.begun = grid.nearest(self.weight, cut=True)
        steps = self.begun.scales[:1] if grid.whole else self.begun.scales
        self.each, self.row, self.step = (torch.zeros_like(t) for t in (weight, weight[:, :1], steps))
        self.learned = self.each, self.row, self.step

    def scales(self) -> Tensor:
        """(O,G) s, numbers of half precision."""
        wide = self.begun.scales * self.step.exp()
        half = wide.detach().clamp(max=65504).half().to(wide.dtype)
        return straight(torch.where(half == 0, self.begun.scales, half), wide)

    def codes(self, scales: Tensor) -> Tensor:
        """(O,I) whole numbers, with slopes."""
        at = self.begun.at
        x = self.weight / (scales[:, at] * (self.each + self.row).exp())
        return (straight(x.round(), x) + self.begun.zeros[:, at]).clamp(*self.grid.ends)

    def soft(self) -> Tensor:
        scales, at = self.scales(), self.begun.at
        return scales[:, at] * (self.codes(scales) - self.begun.zeros[:, at])

    @torch.no_grad()
    def coded(self) -> Coded:
        scales = self.scales()
        return Coded(self.codes(scales), scales, self.begun.zeros, self.grid)


class Flexround(Transform):
    shown = True
    settles = True
    example = dict(steps=5)

    def __init__(
        self, *, bits: Annotated[Literal[2, 3, 4, 8], "bits a number"] = 4,
        group: Annotated[Count | Literal["matrix"], "numbers of a row that share a grid; none: all of it; or a matrix"]
        | None = 32,
        symmetric: Annotated[bool, "whether 0 is the middle of the grid; if not, it has a zero point"] = True,
        steps: Annotated[Count, "steps of the fit of a block"] = 300, rate: Annotated[Positive, "of the fit"] = 3e-3,
        tokens: Annotated[Count, "tokens of a step, in whole rows"] = 1024,
        keep: Annotated[Patterns, "patterns of paths of projections that stay as they are"] = (),
        seed: Annotated[Natural, "of the order of the data"] = 0,
    ) -> None:  # fmt: skip
        self.grid, self.keep, self.fit = grid_of(bits, group, symmetric), keep, Fit(steps, rate, tokens, seed)

    def plan(self, model: Model) -> dict[str, str]:
        return dict.fromkeys([part.path for part in wanted(model, self.keep)], f"{self.grid}, learned")

    def apply(self, model: Model, data: Sequence[Batch] = ()) -> Applied:
        planned, shown = self.plan(model), batches(data, "transform:flexround")
        coded, lost = reconstruct(model, shown, list(planned), lambda w: Divided(w, self.grid), self.grid, self.fit)
        return Applied(rebuilt(model, coded), planned, left_of(model, coded), {**told(coded), "block_error": lost})
