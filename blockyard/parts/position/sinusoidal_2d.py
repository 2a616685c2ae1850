"""Add sines and cosines of each token's row and column on the grid to the stem's output.

    x_t <- x_t + [sin(j w), cos(j w), sin(i w), cos(i w)]        i, j: row and column of t
    w_m = base^(-m / (D/4 - 1)),  m < D/4

Shapes   x (B,T,D)
Source   arXiv 2205.01580    Family  position
Differs  tokens without a grid stand in one row
"""

import torch
from torch import Tensor

from blockyard.core import Call, Position, Site, UsageError, widest_dtype
from blockyard.core.settings import Base


class Sinusoidal2D(Position):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, bidirectional=True, any_order=True)

    def __init__(self, site: Site, *, base: Base = 10000.0) -> None:
        super().__init__()
        self.stream, self.base = site.stream, base
        for axis in site.stream.leaves():
            axis.ordered, axis.multiple = True, 4
        if site.stream.size % 4:
            raise UsageError(f"{site.path}: positions on a grid need a width of fours, not {site.stream.size}")

    def at_input(self, x: Tensor, call: Call) -> Tensor:
        quarter, across = self.stream.size // 4, None if call.grid is None else call.grid[-1]
        power = torch.arange(quarter, device=x.device, dtype=widest_dtype(x.device)) / max(1, quarter - 1)
        places = call.positions
        row, column = (torch.zeros_like(places), places) if across is None else (places // across, places % across)
        angles = [place[..., None] * self.base**-power for place in (column, row)]
        return x + torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], -1).to(x.dtype)
