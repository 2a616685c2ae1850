"""Centre every channel and scale it to unit variance over the tokens of the batch; in evaluation by running statistics.

    training     h = (x - mean) / sqrt(var + eps)                  mean, var over the tokens that count
                 once a step:  m <- a m + (1 - a) mean             v <- a v + (1 - a) var
    evaluation   h = (x - m) / sqrt(v + eps)                       y = g h + b

In training a token depends on all others of its batch, later ones and those of other rows too, and a batch is not taken
in pieces: what is claimed holds of evaluation.

Shapes   x, y, h (B,T,...,D)   g, b (D)   m, v (D), kept, not learned by gradients
Source   arXiv 1502.03167    Family  norm
Differs  the running variance is the batch's own, without the factor that makes it unbiased
"""

from collections.abc import Mapping
from typing import Annotated

import torch
from torch import Tensor

from blockyard.core import Call, Part, Site, constant, upcast
from blockyard.core.call import Seen
from blockyard.core.settings import Eps, Share


class BatchNorm(Part):
    claims = dict(per_token=True, row_independent=True)
    couples = True

    def __init__(
        self, site: Site, *, keep: Annotated[Share, "how much of its statistics a step leaves"] = 0.9, eps: Eps = 1e-5
    ) -> None:
        super().__init__()
        self.gain = site.param("gain", (site.stream,), constant(1.0))
        self.bias = site.param("bias", (site.stream,), constant(0.0))
        self.mean = site.statistic("mean", (site.stream,), 0.0)
        self.variance = site.statistic("variance", (site.stream,), 1.0)
        self.keep, self.eps = keep, eps

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        mean, variance = self.mean, self.variance
        if call is not None and call.training:
            counted = call.zero_invalid(torch.ones_like(x[..., :1]))
            over, count = tuple(range(x.dim() - 1)), counted.sum()
            mean = upcast(x * counted).sum(over) / count
            variance = (upcast(x - mean) * counted).square().sum(over) / count
            call.observe(self.path, "mean", mean * count, count)
            call.observe(self.path, "variance", variance * count, count)
        scale = self.gain * (variance + self.eps).rsqrt()
        return x * scale.to(x.dtype) + (self.bias - mean * scale).to(x.dtype)

    def update(self, seen: Mapping[str, Seen]) -> None:
        """The running statistics after what all forwards of a step saw."""
        for name, kept in (("mean", self.mean), ("variance", self.variance)):
            kept.lerp_((seen[name].total / seen[name].count).to(kept), 1 - self.keep)
