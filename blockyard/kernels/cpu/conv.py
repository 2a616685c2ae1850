"""The short filter, token by token: x is read once, y written once.

A tap that reaches d tokens back is used where the token has d tokens before it in its segment, the tail included.
Backward reads the taps from the other side, and sums the gradients of taps and bias by blocks of tokens:

    dx_t = sum_d taps_d dy_{t+d}        dtaps_d = sum_t dy_t x_{t-d}        dbias = sum_t dy_t
"""

from typing import Any

import torch
from torch import Tensor

from .._chunks import wide
from ._compile import compiled
from ._grad import Form, Given, run
from ._lanes import full, load, store
from ._share import flat, line, marks, share, whole

BLOCK = 128  # tokens a task


@compiled
def reach(reset, b, t, most):
    """How many tokens back token t may look, at most so many."""
    if reset.size:
        for d in range(min(most, t + 1)):
            if reset[b, t - d]:
                return d
    return most


@compiled
def forward(x, taps, bias, tail, reset, y, sizes, strides, first, last):
    """x, y (B,T,C), taps (W,C), the token's own first, tail (B,W-1,C)."""
    T, C, W = sizes
    (sb, st), blocks = strides[0], (T + BLOCK - 1) // BLOCK
    for task in range(first, last):
        b, begin = task // blocks, task % blocks * BLOCK
        for t in range(begin, min(begin + BLOCK, T)):
            far, at, to, after = (
                reach(reset, b, t, W - 1),
                b * sb + t * st,
                (b * T + t) * C,
                (b * (W - 1) + W - 1 + t) * C,
            )
            inside = min(far, t) + 1
            for c in range(0, C, len(load(x, at))):
                out = load(bias, c)
                for d in range(inside):
                    out = out + load(x, at + c - d * st) * load(taps, d * C + c)
                for d in range(inside, far + 1):
                    out = out + load(tail, after + c - d * C) * load(taps, d * C + c)
                store(y, to + c, out)


@compiled
def backward(x, taps, tail, reset, dy, dx, d_taps, d_bias, d_tail, sizes, strides, first, last):
    """d_taps (tasks,W,C), d_bias (tasks,C) and d_tail start at zero."""
    T, C, W = sizes
    (sb, st), (gb, gt), blocks = strides[0], strides[1], (T + BLOCK - 1) // BLOCK
    for task in range(first, last):
        b, begin = task // blocks, task % blocks * BLOCK
        for t in range(begin, min(begin + BLOCK, T)):
            far, at, ga, to = reach(reset, b, t, W - 1), b * sb + t * st, b * gb + t * gt, (b * T + t) * C
            after, inside, seen = (b * (W - 1) + W - 1 + t) * C, min(far, t) + 1, 1
            while seen < W and t + seen < T and not (reset.size and reset[b, t + seen]):
                seen += 1
            for c in range(0, C, len(load(x, at))):
                grad, out = load(dy, ga + c), full(x.dtype.type(0))
                for d in range(seen):
                    out = out + load(dy, ga + c + d * gt) * load(taps, d * C + c)
                store(dx, to + c, out)
                store(d_bias, task * C + c, load(d_bias, task * C + c) + grad)
                for d in range(inside):
                    own = (task * W + d) * C + c
                    store(d_taps, own, load(d_taps, own) + grad * load(x, at + c - d * st))
                for d in range(inside, far + 1):
                    own, old = (task * W + d) * C + c, after + c - d * C
                    store(d_taps, own, load(d_taps, own) + grad * load(tail, old))
                    store(d_tail, old, load(d_tail, old) + grad * load(taps, d * C + c))


def _rows(given: Given) -> Any:
    """x with its strides; taps, the token's own first, and the tail, in whole rows."""
    x, weight, _, tail = given
    taps = whole(weight.to(wide(x)).t().flip(0)).contiguous()
    before = taps.new_zeros(x.shape[0], len(taps) - 1, taps.shape[1])
    if tail is not None:
        before = whole(tail.to(taps.dtype)).contiguous()
    return *flat(whole(x.to(taps.dtype))), taps, before


def _live(reset: Tensor | None, W: int) -> Tensor | float:
    """Which of the last W-1 tokens are in the segment of the last."""
    if reset is None:
        return 1.0
    number = reset[:, reset.shape[1] - W + 1 :].cumsum(1)
    return (number == number[:, -1:]).unsqueeze(-1)


def _forward(given: Given, reset: Tensor | None, keep: bool) -> tuple[Tensor, Tensor, Given]:
    x, _, bias, _ = given
    fx, sx, taps, before = _rows(given)
    (B, T, _), (W, C) = x.shape, taps.shape
    offset = taps.new_zeros(C) if bias is None else whole(bias.to(taps.dtype)).contiguous()
    y = taps.new_empty(B, T, C)
    arrays = (fx, line(taps), line(offset), line(before), marks(reset), line(y))
    share(forward, B * -(-T // BLOCK), y.numel(), *arrays, (T, C, W), (sx,))
    return y[..., : x.shape[2]].to(x.dtype), x[:, T - W + 1 :] * _live(reset, W), ()


def _backward(given: Given, reset: Tensor | None, kept: Given, d_y: Tensor, d_last: Tensor) -> Given:
    x, _, bias, tail = given
    fx, sx, taps, before = _rows(given)
    fd, sd = flat(whole(d_y.to(taps.dtype)))
    (B, T, real), (W, C) = x.shape, taps.shape
    tasks = B * -(-T // BLOCK)
    dx, d_tail = taps.new_empty(B, T, C), torch.zeros_like(before)
    d_taps, d_bias = taps.new_zeros(tasks, W, C), taps.new_zeros(tasks, C)
    out = [line(t) for t in (dx, d_taps, d_bias, d_tail)]
    share(backward, tasks, 2 * dx.numel(), fx, line(taps), line(before), marks(reset), fd, *out, (T, C, W), (sx, sd))
    dx = dx[..., :real]
    dx[:, T - W + 1 :] += d_last * _live(reset, W)
    d_weight, d_offset = d_taps.sum(0).flip(0).t()[:real], None if bias is None else d_bias.sum(0)[:real]
    return dx, d_weight, d_offset, None if tail is None else d_tail[..., :real]


def filtered(
    x: Tensor, weight: Tensor, bias: Tensor | None, tail: Tensor | None, reset: Tensor | None
) -> tuple[Tensor, Tensor]:
    """y and the last W-1 tokens, of rows of at least W tokens."""
    from ..conv import causal_conv_chunked

    def again(*given: Any, initial_state: Tensor | None, reset: Tensor | None) -> tuple[Tensor, Tensor]:
        return causal_conv_chunked(*given, tail=initial_state, reset=reset)

    return run(Form(_forward, _backward, again), x, weight, bias, tail, reset=reset)
