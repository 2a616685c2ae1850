"""Rotate queries and keys by their position and let each pair of channels fade with the distance.

    q: (x_i, x_{i+K/2}) <- z_i^(p/span) * rotation by p w_i        w_i = base^(-2i/K),  i < K/2
    k: (x_i, x_{i+K/2}) <- z_i^(-p/span) * rotation by p w_i       z_i = (2i/K + gamma) / (1 + gamma)

A product of the two is scaled by z_i^(distance/span). Each factor alone grows with the position, so positions that
would leave the range of the numbers are refused: in single precision and bfloat16 those beyond 35,000.

Shapes   q (B,T,H,K)   k (B,T,G,K)   tables (B or 1,T,1,K/2), made once a forward
Source   arXiv 2212.10554    Family  position
Differs  powers count from the first token, not from the middle of the row, so that a cached key stays as it is; no
         blockwise attention
"""

import math
from typing import Annotated

import torch
from torch import Tensor
from torch.compiler import is_compiling

from blockyard.core import Call, Site, UsageError
from blockyard.core.settings import Base, Positive
from blockyard.kernels import rotate
from blockyard.parts.position._rope import Rotary


class Xpos(Rotary):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, any_order=True, fixed=True)

    def __init__(
        self, site: Site, *, base: Base = 10000.0,
        span: Annotated[Positive, "tokens in which the fastest pair fades to gamma / (1 + gamma)"] = 512.0,
        gamma: Annotated[Positive, "the larger, the less the fastest pair fades"] = 0.4,
    ) -> None:  # fmt: skip
        super().__init__(site, base)
        self.span, self.gamma = span, gamma

    def tables(self, call: Call) -> tuple[Tensor, ...]:
        """cos, sin of queries and of keys (B or 1,T,1,K/2)."""
        self.refuse_too_far(call)
        positions = self.places(call)[..., None, None]
        angle = positions * self.speeds(call)
        log_fade = positions * (((self.powers(positions.device) + self.gamma) / (1 + self.gamma)).log() / self.span)
        waves = (angle.cos(), angle.sin())
        return tuple([(wave * power.exp()).to(call.dtype) for power in (log_fade, -log_fade) for wave in waves])

    def refuse_too_far(self, call: Call) -> None:
        """Refuse positions whose powers are no numbers of this dtype."""
        grows = math.log1p(1 / self.gamma) / self.span
        last = int(0.98 * math.log(torch.finfo(call.dtype).max) / grows)
        longest = call.positions.shape[1] if call.past is None else call.past.positions.shape[1]
        if longest > last and not call.aligned and not is_compiling():
            longest = int(call.positions.max()) + 1  # slots may be empty
        if longest > last and (call.aligned or not is_compiling()):
            raise UsageError(f"{self.path}: {longest} tokens, but powers of span={self.span:g} end at {last}")

    def at_qk(self, q: Tensor, k: Tensor, call: Call) -> tuple[Tensor, Tensor]:
        q_cos, q_sin, k_cos, k_sin = (table.to(q.dtype) for table in self.made(call))
        return rotate(q, q_cos, q_sin), rotate(k, k_cos, k_sin)

    def unrotate(self, k: Tensor, call: Call) -> Tensor:
        """The keys as they were before `at_qk`."""
        q_cos, q_sin, *_ = self.tables(call)
        return rotate(k, q_cos.to(k.dtype), -q_sin.to(k.dtype))
