"""Attention over whole rows by compiled loops, forward and backward; derivatives of derivatives are the reference's.

Half values are multiplied and summed in single precision. Values of several precisions, such as rotated queries and
keys beside half values, are first made all single.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function

from ..toolkit.arrays import check_axes, padded, raveled, strided
from ..toolkit.chunks import state_dtype
from ..toolkit.parallel import parallel_for
from .backward import Grads, Known, backward
from .forward import forward
from .reference import attend_reference
from .tiles import Given, Sizes


class How(NamedTuple):
    """Who is seen, and what scores are multiplied by."""

    causal: bool
    window: int | None
    spans: Tensor | None
    scale: float


def _run(loop: Callable[..., None], given: tuple[Tensor, ...], how: How, *arrays: Any) -> None:
    q, k, v = given
    (B, T, H, D), (S, G, V) = q.shape, (*k.shape[1:3], v.shape[3])
    spans = np.empty(0, np.int32) if how.spans is None else raveled(how.spans.int().expand(B, T, 2).contiguous())
    sizes = Sizes(T, S, H, G, D, V, how.causal, how.window or 0)
    parallel_for(loop, B * G, B * H * T * S * D, Given(*map(strided, given)), *arrays, spans, sizes, how.scale)


def _forward(given: tuple[Tensor, ...], how: How) -> tuple[Tensor, Tensor]:
    q, _, v = given
    y, sums = q.new_empty(*q.shape[:3], v.shape[3]), q.new_empty(q.shape[0], q.shape[2], q.shape[1])
    sums = sums.to(state_dtype(q))
    _run(forward, given, how, strided(y), raveled(sums))
    return y, sums


class _Attend(Function):
    @staticmethod
    def forward(ctx: Any, how: How, *given: Tensor):  # pyright: ignore
        y, sums = _forward(given, how)
        ctx.how = how
        ctx.save_for_backward(*given, y, sums)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor):  # pyright: ignore
        *given, y, sums = ctx.saved_tensors
        if torch.is_grad_enabled():  # the gradient is to be differentiated
            again = attend_reference(*given, **ctx.how._asdict())
            wanted = [i for i in range(3) if ctx.needs_input_grad[i + 1]]
            found = torch.autograd.grad(again, [given[i] for i in wanted], dy, create_graph=True)
            grads = dict(zip(wanted, found))
            return None, *(grads.get(i) for i in range(3))
        grads = [torch.empty(x.shape, dtype=x.dtype) for x in given]
        known = Known(strided(y), strided(dy), raveled(sums))
        _run(backward, tuple(given), ctx.how, known, Grads(*map(strided, grads)))
        return None, *grads


def attend_tiled(
    q: Tensor, k: Tensor, v: Tensor, *, causal: bool = True, mask: None = None, window: int | None = None,
    sinks: int = 0, scale: float | None = None, spans: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Softmax attention; without a mask and sinks."""
    check_axes("bthd bsgd bsgv", q, k, v)
    if q.shape[2] % k.shape[2] or not (causal or window is None) or mask is not None or sinks:
        raise ValueError(f"{q.shape[2]} heads with {k.shape[2]}, causal={causal}, window={window}, sinks={sinks}")
    how = How(causal, window, spans, q.shape[-1] ** -0.5 if scale is None else float(scale))
    kind = q.dtype if q.dtype == k.dtype == v.dtype else state_dtype(q)
    given = [padded(x.to(kind)) for x in (q, k, v)]
    if torch.is_grad_enabled() and any(x.requires_grad for x in given):
        y: Any = _Attend.apply(how, *given)
    else:
        y, _ = _forward(tuple(given), how)
    return y[..., : v.shape[-1]].to(v.dtype)
