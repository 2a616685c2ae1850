"""Centre each group of a token's channels and scale it to unit variance, with a gain and a bias for every channel.

    y_g = g * (x_g - mean(x_g)) / sqrt(var(x_g) + eps) + b
    g: one of so many equal runs of channels, or a place of the first axis of the product it stands on

One group is layer norm.

Shapes   x, y (..., D)   g, b (D)
Source   arXiv 1803.08494    Family  norm
Differs  statistics of a token alone (paper: of all places of an image), so that tokens stay apart
"""

from math import lcm
from typing import Annotated

import torch
from torch import Tensor
from torch.nn.functional import layer_norm

from blockyard.core import Call, Part, Site, constant
from blockyard.core.settings import Count, Eps


class GroupNorm(Part):
    claims = dict(per_token=True, row_independent=True, scale_invariant=True)
    variants = ({}, dict(groups=4), dict(groups=None))

    def __init__(
        self, site: Site, *,
        groups: Annotated[Count, "runs of as many channels; none: a run for each place of a product's first axis"]
        | None = 1, eps: Eps = 1e-5,
    ) -> None:  # fmt: skip
        super().__init__()
        self.parts, (self.first, *self.rest) = groups, site.stream.leaves()
        if groups is not None:
            site.divide("groups", site.stream.size, groups)
        if groups is not None and groups > 1:
            for axis in site.stream.leaves():
                axis.ordered, axis.multiple = True, lcm(axis.multiple, groups)
        self.gain = site.param("gain", (site.stream,), constant(1.0))
        self.bias = site.param("bias", (site.stream,), constant(0.0))
        self.eps = eps

    @property
    def groups(self) -> int:
        """How many there are, 1 where the whole is one."""
        return self.parts or (self.first.size if self.rest else 1)

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        h = x.unflatten(-1, (self.groups, -1))
        plain = self.gain[: h.shape[-1]].to(x.dtype)
        h = layer_norm(h, plain.shape, torch.ones_like(plain), torch.zeros_like(plain), self.eps).flatten(-2)
        return h * self.gain.to(x.dtype) + self.bias.to(x.dtype)
