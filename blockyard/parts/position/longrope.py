"""Rotary positions of which each pair is slowed by a factor of its own: one list for short texts, one for long ones.

    (x_i, x_{i+K/2}) <- c * rotation by p * base^(-2i/K) / f_i        i < K/2
    f = short where the document of p has at most `trained` tokens, long where it has more

All keys turn at the speeds of the whole document. Those that a state keeps would have turned at those of a shorter one,
so there is no going on from a state; with `carried`, texts do that are not longer than that.

Shapes   q (B,T,H,K)   k (B,T,G,K)   tables cos, sin (B or 1,T,1,K/2), made once a forward
Source   arXiv 2402.13753    Family  position
Differs  the factors are given, not searched for; the length is that of each row and packed document, not of the batch
"""

from typing import Annotated

import torch
from torch import Tensor

from blockyard.core import Call, Site, UsageError, widest_dtype
from blockyard.core.settings import Base, Carried, Positive, Trained
from blockyard.parts.position._rope import Rotary, document_lengths


class LongRope(Rotary):
    claims = dict(causal=True, packs=True, row_independent=True, bidirectional=True, any_order=True, fixed=True)
    variants = (dict(trained=5), dict(trained=64, carried=64, grown=1.2))

    def __init__(
        self, site: Site, *,
        short: Annotated[tuple[Positive, ...], "of each pair, by what it is slowed in short texts; empty: by 1"] = (),
        long: Annotated[tuple[Positive, ...], "the same in long ones; empty: by 4"] = (),
        trained: Trained | None = None,
        grown: Annotated[Positive, "c: by which queries and keys grow, each"] = 1.0,
        carried: Carried | None = None, base: Base = 10000.0,
    ) -> None:  # fmt: skip
        super().__init__(site, base)
        pairs = self.head_dim.size // 2
        self.short, self.long = short or (1.0,) * pairs, long or (4.0,) * pairs
        for name, given in (("short", self.short), ("long", self.long)):
            if len(given) != pairs:
                raise UsageError(f"{site.path}: {name} has {len(given)} factors for {pairs} pairs of channels")
        if short or long:
            self.head_dim.fixed = "each of its pairs has a factor of its own"
        self.trained, self.grown, self.carried = trained or site.length, grown, carried
        if carried is not None:
            self.carries(carried, self.trained, site.path)

    def speeds(self, call: Call) -> Tensor:
        device = call.positions.device
        short, long = (torch.tensor(f, device=device, dtype=widest_dtype(device)) for f in (self.short, self.long))
        lengths = document_lengths(call, self.path, "texts of at most carried= tokens", self.carried)
        return super().speeds(call) / torch.where((lengths > self.trained)[..., None, None], long, short)
