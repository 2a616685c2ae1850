"""Rotary positions of which waves that are long in a training row are stretched, short ones left alone.

    (x_i, x_{i+K/2}) <- rotation by p * w_i (g_i + (1 - g_i) / factor)        w_i = base^(-2i/K),  i < K/2
    g_i = clamp((n_i - slow) / (fast - slow), 0, 1)        n_i = trained w_i / 2 pi: turns in a training row

Shapes   q (B,T,H,K)   k (B,T,G,K)   tables cos, sin (B or 1,T,1,K/2), made once a forward
Source   arXiv 2407.21783    Family  position
Differs  nothing known
"""

import math
from typing import Annotated

from torch import Tensor

from blockyard.core import Call, Site, UsageError
from blockyard.core.settings import Base, Longer, Positive, Trained
from blockyard.parts.position._rope import Rotary


class Llama3(Rotary):
    claims = dict(
        causal=True, streams=True, packs=True, row_independent=True, bidirectional=True, any_order=True, fixed=True
    )  # fmt: skip
    variants = (dict(trained=16), {})

    def __init__(
        self, site: Site, *, factor: Longer = 8.0, trained: Trained | None = None,
        fast: Annotated[Positive, "turns in a training row from which a pair is left alone"] = 4.0,
        slow: Annotated[Positive, "turns in a training row up to which a pair is stretched"] = 1.0,
        base: Base = 500000.0,
    ) -> None:  # fmt: skip
        super().__init__(site, base)
        if fast <= slow:
            raise UsageError(f"{site.path}: fast={fast:g} must be more turns than slow={slow:g}")
        self.factor, self.trained, self.fast, self.slow = factor, trained or site.length, fast, slow

    def speeds(self, call: Call) -> Tensor:
        plain = super().speeds(call)
        turns = self.trained * plain / (2 * math.pi)
        kept = ((turns - self.slow) / (self.fast - self.slow)).clamp(0, 1)
        return plain * (kept + (1 - kept) / self.factor)
