"""Add sines and cosines of each position to the stem's output.

    x_t <- x_t + [sin(p_t w_i), cos(p_t w_i)]        w_i = base^(-2i/D),  i < D/2

Shapes   x (B,T,D)
Source   arXiv 1706.03762    Family  position
Differs  sines fill the first half of the channels and cosines the second, not alternating
"""

import torch
from torch import Tensor

from blockyard.core import Call, Position, Site, UsageError, widest_dtype
from blockyard.core.settings import Base


class Sinusoidal(Position):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, bidirectional=True, any_order=True)

    def __init__(self, site: Site, *, base: Base = 10000.0) -> None:
        super().__init__()
        self.stream, self.base = site.stream, base
        for axis in site.stream.leaves():
            axis.ordered, axis.multiple = True, 2
        if site.stream.size % 2:
            raise UsageError(f"{site.path}: sinusoidal positions need an even width, not {site.stream.size}")

    def at_input(self, x: Tensor, call: Call) -> Tensor:
        half = self.stream.size // 2
        power = torch.arange(half, device=x.device, dtype=widest_dtype(x.device)) / half
        angle = call.positions[..., None] * self.base**-power
        return x + torch.cat([angle.sin(), angle.cos()], -1).to(x.dtype)
