"""Rotate queries and keys by angles that grow with their position, so that their product knows the distance.

    (x_i, x_{i+K/2}) <- rotation by p * base^(-2i/K)        i < K/2

Shapes   q (B,T,H,K)   k (B,T,G,K)   tables cos, sin (B or 1,T,1,K/2), made once a forward
Source   arXiv 2104.09864    Family  position
Differs  halves are paired (x_i with x_{i+K/2}), as in Llama, not neighbours
"""

import torch
from torch import Tensor

from blockyard.core import Call, Position, Site, UsageError, widest_dtype
from blockyard.core.settings import Base
from blockyard.kernels import rotate


class Rope(Position):
    claims = dict(
        causal=True, streams=True, packs=True, row_independent=True, bidirectional=True, any_order=True, fixed=True
    )  # fmt: skip

    def __init__(self, site: Site, *, base: Base = 10000.0) -> None:
        super().__init__()
        *_, self.head_dim = site.stream.leaves()
        if self.head_dim.size % 2:
            raise UsageError(f"{site.path}: rope rotates pairs of channels; head_dim={self.head_dim.size} is odd")
        self.head_dim.multiple, self.head_dim.ordered = 2, True
        self.base = base

    def tables(self, call: Call) -> tuple[Tensor, Tensor]:
        return self._waves(call.positions[:1] if call.aligned else call.positions, call.dtype)

    def _waves(self, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """cos, sin (B or 1,T,1,K/2) at these positions."""
        half = self.head_dim.size // 2
        power = torch.arange(half, device=positions.device, dtype=widest_dtype(positions.device)) / half
        angle = positions[..., None, None] * self.base**-power
        return angle.cos().to(dtype), angle.sin().to(dtype)

    def prepare(self, call: Call) -> None:
        key = ("rope", self.head_dim.size, self.base)
        if key not in call.memo:
            call.memo[key] = self.tables(call)

    def at_qk(self, q: Tensor, k: Tensor, call: Call) -> tuple[Tensor, Tensor]:
        cos, sin = call.memoised(("rope", self.head_dim.size, self.base), lambda: self.tables(call))
        cos, sin = cos.to(q.dtype), sin.to(q.dtype)
        return rotate(q, cos, sin), rotate(k, cos, sin)

    def turned(self, x: Tensor, steps: Tensor) -> Tensor:
        return rotate(x, *self._waves(steps, x.dtype))

    def unrotate(self, k: Tensor, call: Call) -> Tensor:
        """The keys as they were before `at_qk`."""
        cos, sin = self.tables(call)
        return rotate(k, cos.to(k.dtype), -sin.to(k.dtype))
