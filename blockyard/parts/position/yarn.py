"""Rotary positions of which slow pairs are interpolated, fast ones left alone, and those between a mixture.

    (x_i, x_{i+K/2}) <- c * rotation by p * w_i ((1 - g_i) + g_i / factor)        w_i = base^(-2i/K),  i < K/2
    g_i = clamp((i - low) / (high - low), 0, 1)        c = 1 + 0.1 ln factor, where nothing is said of it
    low, high: the pairs that turn `fast` and `slow` times in a training row, rounded outwards

Scores grow by c^2: the temperature of attention in longer rows.

Shapes   q (B,T,H,K)   k (B,T,G,K)   tables cos, sin (B or 1,T,1,K/2), made once a forward
Source   arXiv 2309.00071    Family  position
Differs  nothing known
"""

import math
from typing import Annotated

import torch
from torch import Tensor

from blockyard.core import Call, Site, UsageError
from blockyard.core.settings import Base, Longer, Positive, Trained
from blockyard.parts.position._rope import Rotary


class Yarn(Rotary):
    claims = dict(
        causal=True, streams=True, packs=True, row_independent=True, bidirectional=True, any_order=True, fixed=True
    )  # fmt: skip
    variants = (dict(trained=256, base=100.0), {})

    def __init__(
        self, site: Site, *, factor: Longer = 4.0, trained: Trained | None = None,
        fast: Annotated[Positive, "turns in a training row from which a pair is left alone"] = 32.0,
        slow: Annotated[Positive, "turns in a training row up to which a pair is interpolated"] = 1.0,
        base: Base = 10000.0,
        grown: Annotated[Positive, "c: by which queries and keys grow, each; none: 1 + 0.1 ln factor"] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(site, base)
        if fast <= slow:
            raise UsageError(f"{site.path}: fast={fast:g} must be more turns than slow={slow:g}")
        if base <= 1:
            raise UsageError(f"{site.path}: base={base:g} must be above 1: else no pair is slower than another")
        self.factor, self.trained, self.fast, self.slow = factor, trained or site.length, fast, slow
        self.grown = grown or 1 + 0.1 * math.log(factor)

    def speeds(self, call: Call) -> Tensor:
        plain = super().speeds(call)
        low = max(math.floor(self.pair(self.fast)), 0)
        high = min(math.ceil(self.pair(self.slow)), self.head_dim.size - 1)
        at = torch.arange(len(plain), device=plain.device, dtype=plain.dtype)
        mixed = ((at - low) / max(high - low, 1e-3)).clamp(0, 1)
        return plain * (1 - mixed) + plain / self.factor * mixed

    def pair(self, turns: float) -> float:
        """The pair, in fractions, that turns so many times in a training row."""
        return self.head_dim.size * math.log(self.trained / (2 * math.pi * turns)) / (2 * math.log(self.base))
