"""Add sines and cosines of each position and of the loop, so that a block that repeats knows how often it has run.

    x_t <- x_t + [sin(p_t w_i) + sin(n w_i), cos(p_t w_i) + cos(n w_i)]      w_i = base^(-2i/D),  i < D/2
    n = 1, 2, ...: which loop begins here; in a stem, the first one

Shapes   x (B,T,D)
Source   arXiv 1807.03819    Slug  universal-transformer    Family  position
Differs  sines fill the first half of the channels and cosines the second, not alternating
"""

import torch
from torch import Tensor

from blockyard.core import Call, Position, Site, UsageError, widest_dtype
from blockyard.core.settings import Base


class StepSignal(Position):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, bidirectional=True, any_order=True)

    def __init__(self, site: Site, *, base: Base = 10000.0) -> None:
        super().__init__()
        self.base = base
        for axis in site.stream.leaves():
            axis.ordered, axis.multiple = True, 2
        if site.stream.size % 2:
            raise UsageError(f"{site.path}: a step signal needs an even width, not {site.stream.size}")

    def at_input(self, x: Tensor, call: Call) -> Tensor:
        half = x.shape[-1] // 2
        wave = self.base ** -(torch.arange(half, device=x.device, dtype=widest_dtype(x.device)) / half)
        place, loop = call.positions[..., None] * wave, (call.loop + 1) * wave
        return x + torch.cat([place.sin() + loop.sin(), place.cos() + loop.cos()], -1).to(x.dtype)
