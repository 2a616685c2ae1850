"""A projection with few numbers, and a full matrix that leads it through the first part of training.

    y = a (W x + c) + (1 - a) S(x)        a = (1 + cos(pi t / until)) / 2 for t < until, then 0        c = 0 at first

S is any projection, t the share of the run that lies before the step. W starts as the matrix that S is, so that at
first a changes nothing. Outside training a is what it was in the last step. Once it is 0, the matrix is neither read
nor learned, and `detach` takes it off without changing anything.

Shapes   x (..., reads)   y (..., writes)   W (writes, reads)   c (writes)   a (), kept, not learned by gradients
Source   arXiv 2406.16450    Slug  structured-ffn    Family  linear
Differs  W is what S makes of the identity (released code: of two shuffled factors the product without shuffles)
"""

from collections.abc import Mapping
from math import cos, pi
from typing import Annotated

import torch
from torch import Tensor

from blockyard.core import Call, Expr, Linear, Site, Spec, constant
from blockyard.core.call import Seen
from blockyard.core.settings import LinearSpec, Share
from blockyard.kernels import linear


class Guided(Linear):
    claims = dict(per_token=True, row_independent=True)
    attached_to = "base"
    variants = ({}, dict(base="block_shuffle"))

    def __init__(
        self, site: Site, reads: Expr, writes: Expr, biased: bool, gain: float, *,
        base: Annotated[LinearSpec, "what is led"] = Spec("linear", "low_rank"),
        until: Annotated[Share, "the share of the run at which it goes on alone"] = 0.5,
    ) -> None:  # fmt: skip
        super().__init__()
        self.base, self.until = site.build("base", base, reads, writes, biased, gain), until

        def same(value: Tensor, rng: torch.Generator) -> None:
            nothing = torch.zeros(1, reads.size)
            value.copy_((self.base(torch.eye(reads.size)) - self.base(nothing)).T)

        self.guide = site.param("guide", (writes, reads), same, decay=True, reads=reads, writes=writes)
        self.guide_bias = site.param("guide_bias", (writes,), constant(0.0)) if biased else None
        self.share = site.statistic("share", (), 1.0)

    def led(self, progress: float) -> float:
        """a where this share of the run is done."""
        return 0.0 if progress >= self.until else (1 + cos(pi * progress / self.until)) / 2

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        a: float | Tensor = self.share
        if call is not None and call.training:
            a = self.led(call.progress)
            call.observe(self.path, "share", self.share.new_tensor(a), 1)
        y = self.base(x, call)
        if (isinstance(a, Tensor) and a.is_meta) or not a:  # on the meta device it has no number: what is left at last
            return y
        a = a.to(y.dtype) if isinstance(a, Tensor) else a
        return (1 - a) * y + a * linear(x, self.guide, self.guide_bias)

    def update(self, seen: Mapping[str, Seen]) -> None:
        """What a was in the step that is done."""
        self.share.copy_(seen["share"].total / seen["share"].count)
