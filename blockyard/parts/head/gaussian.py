"""Normalise the stream and read a mean and a variance off every token.

    (m, u) = W N(x) + b        variance = softplus(u + u_0) + floor        softplus(u_0) = 1: it begins near 1

In the first `still` of a training run the variance is 1: one that falls before the mean is any good hides the error
that would mend the mean.

Shapes   x (B,T,D)   mean, variance (B,T,O)
Source   arXiv 2405.15115    Slug  icl-uncertainty    Family  head
Differs  the floor, 1e-4, and the beginning are ours
"""

import math
from typing import Annotated, Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from blockyard.core import Call, Cat, Head, Site, Spec
from blockyard.core.settings import Count, Fraction, NormSpec

FLOOR = 1e-4
AT_ONE = math.log(math.e - 1)


class Gaussian(Head):
    says = "gaussian"
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, per_token=True)

    def __init__(
        self, site: Site, *, outputs: Annotated[Count, "numbers a token"] = 1,
        still: Annotated[Fraction, "the share of a training run in which the variance is 1"] = 0.05,
        norm: Annotated[NormSpec, "the norm before the numbers; none: no norm"] | None = Spec("norm", "rms"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm, self.still = site.slot("norm", norm), still
        asked = site.axis("outputs", outputs)
        asked.ordered = True
        self.layout = Cat(asked, asked)
        self.proj = site.linear("proj", site.stream, self.layout, bias=True)

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[dict[str, Tensor], Call, Any]:
        x = x if self.norm is None else self.norm(x, call)
        mean, u = self.layout.split(self.proj(x, call))
        if call.training and call.progress < self.still:
            return {"mean": mean, "variance": torch.ones_like(u)}, call, state
        return {"mean": mean, "variance": softplus(u + AT_ONE) + FLOOR}, call, state
