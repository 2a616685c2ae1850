"""Several streams side by side, and each token decides what is read of them, how they mix, and where is written.

    g_j = N(H_j)        a_j = a0_j + s tanh(g_j . u)        A_ij = A0_ij + s tanh(g_j . U_i)
    b_j = b0_j + t tanh(g_j . v)        h = sum_j a_j H_j        y = F(N'(h))        H_i <- sum_j A_ij H_j + b_i y
    the stream: the mean of the n H_i

u, U and v start at zero, a0, A0 and b0 as those of residual:hyper_connections: then every stream is that of pre-norm.

Shapes   x, h, y, H_j (B,T,D)   a, b (n)   A (n,n)   u, v (D)   U (n,D)   s, t ()
Source   arXiv 2409.19606    Family  residual
Differs  the mean of the streams (paper: their sum), which a norm behind them makes the same
"""

from collections.abc import Sequence
from functools import reduce
from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core import Call, Residual, Site, Spec, constant
from blockyard.core.settings import Count, NormSpec, Number


class DynamicHyperConnections(Residual):
    claims = dict(per_token=True, row_independent=True)
    variants = (dict(streams=1), {}, dict(streams=2))
    points = ("reads", "writes")

    def __init__(
        self, site: Site, *, streams: Annotated[Count, "how many streams there are"] = 4,
        norm: Annotated[NormSpec, "the norm of what a sublayer reads, and another of every stream"] = Spec(
            "norm", "rms"
        ),
        start: Annotated[Number, "how much tokens decide at first"] = 0.01,
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm = site.build("norm", norm)
        self.each = site.build("each", norm)
        self.streams = site.axis("streams", streams)
        self.streams.fixed = "every step reads all streams"
        own = site.step % self.streams.size
        self.reads = site.param("reads", (self.streams,), lambda value, _: value.zero_()[own].fill_(1.0))
        self.mixes = site.param("mixes", (self.streams, self.streams), lambda value, _: torch.nn.init.eye_(value))
        self.writes = site.param("writes", (self.streams,), constant(1.0))
        self.reads_by = site.param("reads_by", (site.stream,), constant(0.0))
        self.mixes_by = site.param("mixes_by", (self.streams, site.stream), constant(0.0))
        self.writes_by = site.param("writes_by", (site.stream,), constant(0.0))
        self.reads_scale = site.param("reads_scale", (), constant(start))
        self.writes_scale = site.param("writes_scale", (), constant(start))

    def start(self, x: Tensor, call: Call) -> Any:
        return (x,) * self.streams.size

    def read(self, carry: Any, ports: tuple[str, ...], call: Call) -> Any:
        said = [self.each(h, call) for h in carry]
        weights = [a + self._of(g, self.reads_by, self.reads_scale) for a, g in zip(self.reads, said)]
        return self.norm(_weighted(self._shown("reads", weights, call), carry), call)

    def write(self, carry: Any, y: Tensor, call: Call) -> Any:
        said, made = [self.each(h, call) for h in carry], []
        weights = [b + self._of(g, self.writes_by, self.writes_scale) for b, g in zip(self.writes, said)]
        for row, by, weight in zip(self.mixes, self.mixes_by, self._shown("writes", weights, call)):
            mix = [a + self._of(g, by, self.reads_scale) for a, g in zip(row, said)]
            made.append(_weighted(mix, carry) + weight.to(y.dtype) * y)
        return tuple(made)

    def flush(self, carry: Any, call: Call) -> Tensor:
        return reduce(torch.add, carry) / len(carry)

    def _of(self, g: Tensor, by: Tensor, scale: Tensor) -> Tensor:
        """(B,T,1): scale tanh(g . by)"""
        along = (g * by.to(g.dtype)).sum(-1, keepdim=True)
        return scale.to(g.dtype) * (2 * (2 * along).sigmoid() - 1)

    def _shown(self, name: str, weights: list[Tensor], call: Call) -> Sequence[Tensor]:
        """Weights (B,T,1) as a point (B,T,n), where somebody looks."""
        if not self.asked(call, name):
            return weights
        return self.point(name, torch.cat(weights, -1), call).split(1, -1)


def _weighted(weights: Sequence[Tensor], streams: Sequence[Tensor]) -> Tensor:
    """The sum of streams, a number for each of a token."""
    return reduce(torch.add, [weight.to(h.dtype) * h for weight, h in zip(weights, streams)])
