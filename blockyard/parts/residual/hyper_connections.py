"""Several streams side by side: learned numbers say what a sublayer reads of them, how they mix, and where it writes.

    H = (x, ..., x) at first        h = sum_j a_j H_j        y = F(N(h))
    H_i <- sum_j A_ij H_j + b_i y        the stream: the mean of the n H_i

At first step k reads H_k (k counted around), A = I and b = 1: then every stream is that of pre-norm.

Shapes   x, h, y, H_i (B,T,D)   a, b (n)   A (n,n)
Source   arXiv 2409.19606    Family  residual
Differs  the mean of the streams (paper: their sum), which a norm behind them makes the same
"""

from collections.abc import Iterable
from functools import reduce
from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core import Call, Residual, Site, Spec, constant
from blockyard.core.settings import Count, NormSpec


class HyperConnections(Residual):
    claims = dict(per_token=True, row_independent=True)
    variants = (dict(streams=1), {}, dict(streams=2))

    def __init__(
        self, site: Site, *, streams: Annotated[Count, "how many streams there are"] = 4,
        norm: Annotated[NormSpec, "the norm of what a sublayer reads"] = Spec("norm", "rms"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm = site.build("norm", norm)
        self.streams = site.axis("streams", streams)
        self.streams.fixed = "every step reads all streams"
        own = site.step % self.streams.size
        self.reads = site.param("reads", (self.streams,), lambda value, _: value.zero_()[own].fill_(1.0))
        self.mixes = site.param("mixes", (self.streams, self.streams), lambda value, _: torch.nn.init.eye_(value))
        self.writes = site.param("writes", (self.streams,), constant(1.0))

    def start(self, x: Tensor, call: Call) -> Any:
        return (x,) * self.streams.size

    def read(self, carry: Any, ports: tuple[str, ...], call: Call) -> Any:
        return self.norm(_weighted(self.reads, carry), call)

    def write(self, carry: Any, y: Tensor, call: Call) -> Any:
        mixed = [_weighted(row, carry) for row in self.mixes]
        return tuple(h + weight.to(y.dtype) * y for h, weight in zip(mixed, self.writes))

    def flush(self, carry: Any, call: Call) -> Tensor:
        return reduce(torch.add, carry) / len(carry)


def _weighted(weights: Iterable[Tensor], streams: Iterable[Tensor]) -> Tensor:
    """The sum of streams, a number for each."""
    return reduce(torch.add, [weight.to(h.dtype) * h for weight, h in zip(weights, streams)])
