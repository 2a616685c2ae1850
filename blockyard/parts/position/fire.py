"""Add to a score what a small network says of the distance as a share of how far the query stands.

    bias_h(q, k) = W_h relu(u r + s) + t_h        r = log(1 + |c (p_q - p_k)|) / (log(1 + |c| max(p_q, |L|)) + eps)

Distances are seen in units of the past that there is, so that none lies beyond those seen in training; up to |L| tokens
they are not stretched.

Shapes   c, L ()   u, s (M)   W (M,H)   t (H)   bias (B or 1,H,T,S)
Source   arXiv 2310.04418    Family  position
Differs  nothing known
"""

from typing import Annotated

import torch
from torch import Tensor

from blockyard.core import Call, Position, Prod, Site, constant, distances, uniform_in, upcast
from blockyard.core.settings import Inner, Positive


class Fire(Position):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, bidirectional=True, any_order=True)
    unrecorded = "a bias that is not by distance alone is no instruction yet"
    variants = (dict(inner=8, threshold=4.0), {})

    def __init__(
        self, site: Site, *, inner: Inner = 32,
        threshold: Annotated[Positive, "L at first: the tokens up to which distances are not stretched"] = 512.0,
    ) -> None:  # fmt: skip
        super().__init__()
        *outer, _ = site.stream.leaves()
        heads, within = Prod(*outer), site.axis("inner", inner)
        self.c = site.param("c", (), constant(0.1))
        self.threshold = site.param("threshold", (), constant(threshold))
        self.up = site.param("up", (within,), uniform_in(-1.0, 1.0))
        self.shift = site.param("shift", (within,), uniform_in(-1.0, 1.0))
        self.down = site.param("down", (within, heads), uniform_in(-(inner**-0.5), inner**-0.5))
        self.offset = site.param("offset", (heads,), uniform_in(-(inner**-0.5), inner**-0.5))

    def bias(self, call: Call, positions: Tensor | None = None) -> Tensor | None:
        at = call.positions[:1] if call.aligned else call.positions
        c, past = upcast(self.c), torch.maximum(at, upcast(self.threshold).abs())[..., None]
        share = (c * distances(call, positions)).abs().log1p() / ((c.abs() * past).log1p() + 1e-6)
        inner = (share[..., None].to(self.up.dtype) * self.up + self.shift).relu()
        return (inner @ self.down + self.offset).permute(0, 3, 1, 2)
