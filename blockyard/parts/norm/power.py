"""Divide every channel by a running root mean square over tokens, in backward too; the first steps by the batch's own.

    h = x / sqrt(p + eps)        y = g h + b        p: running mean of x^2        q: running lean of the gradient
    dx = (dh - q h) / sqrt(p + eps)                 dh: the gradient by h
    once a step:  p <- a p + (1 - a) mean x^2       q <- q (1 - (1 - a) mean h^2) + (1 - a) mean dh h

In the first `warmup` steps of training p is the batch's mean of x^2, backward is exact, and what is kept is the mean
over these steps. Means are over the tokens that count. Rows depend on one another only there: what is claimed holds of
evaluation always, and of training after the warm-up; before it a batch is not taken in pieces.

Shapes   x, y, h (B,T,...,D)   g, b (D)   p, q (D), kept, not learned by gradients
Source   arXiv 2003.07845    Slug  powernorm    Family  norm
Differs  statistics change once an optimiser step, not once a forward; `first` scales tokens where it is given
"""

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from torch import Tensor
from torch.autograd import Function

from blockyard.core import Call, Part, Site, constant, upcast
from blockyard.core.call import Seen
from blockyard.core.settings import Eps, Natural, NormSpec, Share


class PowerNorm(Part):
    claims = dict(per_token=True, row_independent=True)

    def __init__(
        self, site: Site, *, keep: Annotated[Share, "how much of its statistics a step leaves"] = 0.9,
        warmup: Annotated[Natural, "steps of training that divide by the batch's own mean"] = 100, eps: Eps = 1e-5,
        first: Annotated[NormSpec, "a norm that tokens pass before; none: they come as they are"] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.first = site.slot("first", first)
        self.gain = site.param("gain", (site.stream,), constant(1.0))
        self.bias = site.param("bias", (site.stream,), constant(0.0))
        self.square = site.statistic("square", (site.stream,), 1.0)
        self.lean = site.statistic("lean", (site.stream,), 0.0)
        self.steps = site.statistic("steps", (), 0.0)
        self.keep, self.warmup, self.eps = keep, warmup, eps

    @property
    def couples(self) -> bool:
        """Whether a row's training depends on the others of its batch."""
        return self.steps.is_meta or bool(self.steps < self.warmup)

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        x = x if self.first is None else self.first(x, call)
        root = (self.square + self.eps).rsqrt().to(x.dtype)
        if call is None or not call.training:
            return self._scaled(x * root)
        counted = call.zero_invalid(torch.ones_like(x[..., :1]))
        over, count = tuple(range(x.dim() - 1)), counted.sum()
        square = upcast(x * counted).square().sum(over)
        call.observe(self.path, "square", square, count)
        if self.couples:
            return self._scaled(x * (square / count + self.eps).rsqrt().to(x.dtype))
        return self._scaled(_Running.apply(x, root, self.lean.to(x.dtype), counted, call.later(self.path)))

    def _scaled(self, h: Tensor) -> Tensor:
        return h * self.gain.to(h.dtype) + self.bias.to(h.dtype)

    def update(self, seen: Mapping[str, Seen]) -> None:
        """The statistics after what all forwards of a step saw."""
        square = seen["square"].total / seen["square"].count
        self.square.lerp_(square.to(self.square), 1 / (1 + float(self.steps)) if self.couples else 1 - self.keep)
        if "lean" in seen:
            lean, size = (seen[name].total / seen[name].count for name in ("lean", "size"))
            self.lean.mul_(1 - (1 - self.keep) * size).add_((1 - self.keep) * lean)
        self.steps += 1


class _Running(Function):
    """x / root, whose backward takes away what the gradient has in common with h, as far as it is known by now."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, root: Tensor, lean: Tensor, counted: Tensor, report: Any) -> Tensor:  # pyright: ignore
        h = x * root
        ctx.save_for_backward(h, root, lean, counted)
        ctx.report = report
        return h

    @staticmethod
    def backward(ctx: Any, dh: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore
        h, root, lean, counted = ctx.saved_tensors
        over, count = tuple(range(h.dim() - 1)), counted.sum()
        seen = upcast(h * counted)
        ctx.report("lean", (upcast(dh) * seen).sum(over), count)
        ctx.report("size", seen.square().sum(over), count)
        return (dh - lean * h) * root, None, None, None, None
