"""The short filter, a tile of tokens and channels at a time, with the W-1 tokens before it.

A tap that reaches d tokens back is used where the token has d tokens before it in its segment, the tail included.
Backward reads the taps from the other side, and sums the gradients of taps and bias by blocks of tokens. With z what
the filter sums and dz its gradient (dy, or dy silu'(z) where silu is taken: z is computed once more):

    dx_t = sum_d taps_d dz_{t+d}        dtaps_d = sum_t dz_t x_{t-d}        dbias = sum_t dz_t
"""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..toolkit.arrays import fits, flat, line, marks, read, whole
from ..toolkit.autograd import Form, Given, run
from ..toolkit.chunks import wide
from ..toolkit.compile import aligned, compiled, copy
from ..toolkit.lanes import exponential, full, load, store
from ..toolkit.machine import floats
from ..toolkit.parallel import share
from .chunked import causal_conv_chunked

BLOCK = 128  # tokens a task
TILE = 64  # channels of a task at a time


@compiled
def reaches(reset, b, begin, end, most, far):
    """How many tokens back each token may look."""
    for t in range(begin, end):
        far[t - begin] = most
        if reset.size:
            for d in range(min(most, t + 1)):
                if reset[b, t - d]:
                    far[t - begin] = d
                    break


@compiled
def fetch(x, strides, tail, b, begin, end, low, high, W, C, rows):
    """Tokens begin-W+1 to end, channels low to high: TILE numbers a token."""
    for t in range(begin - W + 1, end):
        to, n = (t - begin + W - 1) * TILE, high - low
        if t < 0:
            copy(tail, (b * (W - 1) + W - 1 + t) * C + low, rows, to, n)
        else:
            copy(x, b * strides[0] + t * strides[1] + low, rows, to, n)


@compiled
def total_at(rows, i, c, taps, bias, low, far, W, C):
    """What the filter sums for the tile's token i, of the channels from c on."""
    out = load(bias, low + c)
    for d in range(W):
        if d <= far[i]:
            out = out + load(rows, (i + W - 1 - d) * TILE + c) * load(taps, d * C + low + c)
    return out


@compiled
def forward(x, taps, bias, tail, reset, y, silu, sizes, strides, first, last):
    """x, y (B,T,C), taps (W,C), the token's own first, tail (B,W-1,C)."""
    T, C, W = sizes
    blocks, one = (T + BLOCK - 1) // BLOCK, full(taps.dtype.type(1))
    rows, far = aligned((BLOCK + W) * TILE, taps), np.empty(BLOCK, np.int64)
    for task in range(first, last):
        b, begin = task // blocks, task % blocks * BLOCK
        end = min(begin + BLOCK, T)
        reaches(reset, b, begin, end, W - 1, far)
        for low in range(0, C, TILE):
            high = min(low + TILE, C)
            fetch(x, strides[0], tail, b, begin, end, low, high, W, C, rows)
            for i in range(end - begin):
                for c in range(0, high - low, len(one)):
                    z = total_at(rows, i, c, taps, bias, low, far, W, C)
                    y_at = (b * T + begin + i) * C + low + c
                    store(y, y_at, z / (one + exponential(one - one - z)) if silu else z)


@compiled
def slopes(rows, taps, bias, far, dy, at, stride, dz, silu, low, high, W, C, n):
    """dz of n tokens of a tile; dy of its first begins at `at`."""
    one = full(dz.dtype.type(1))
    for i in range(n):
        for c in range(0, high - low, len(one)):
            grad = load(dy, at + i * stride + c)
            if silu:
                z = total_at(rows, i, c, taps, bias, low, far, W, C)
                share = one / (one + exponential(one - one - z))
                grad = grad * share * (one + z * (one - share))
            store(dz, i * TILE + c, grad)


@compiled
def backward(x, taps, bias, tail, reset, dy, dx, d_taps, d_bias, d_tail, silu, sizes, strides, first, last):
    """d_taps (tasks,W,C), d_bias (tasks,C); d_tail starts at zero."""
    T, C, W = sizes
    (gb, gt), blocks, zero = strides[1], (T + BLOCK - 1) // BLOCK, full(taps.dtype.type(0))
    rows, dz = aligned((BLOCK + 2 * W) * TILE, taps), aligned((BLOCK + W) * TILE, taps)
    far = np.empty(BLOCK + W, np.int64)
    for task in range(first, last):
        b, begin = task // blocks, task % blocks * BLOCK
        end = min(begin + BLOCK, T)
        n, m = end - begin, min(end + W - 1, T) - begin  # own tokens, and those that look back at them
        reaches(reset, b, begin, begin + m, W - 1, far)
        for low in range(0, C, TILE):
            high = min(low + TILE, C)
            fetch(x, strides[0], tail, b, begin, begin + m, low, high, W, C, rows)
            slopes(rows, taps, bias, far, dy, b * gb + begin * gt + low, gt, dz, silu, low, high, W, C, m)
            for c in range(0, high - low, len(zero)):
                both = zero
                for i in range(n):
                    both = both + load(dz, i * TILE + c)
                store(d_bias, task * C + low + c, both)
                for d in range(W):
                    both = zero
                    for i in range(n):
                        if d <= far[i]:
                            both = both + load(dz, i * TILE + c) * load(rows, (i + W - 1 - d) * TILE + c)
                    store(d_taps, (task * W + d) * C + low + c, both)
                for i in range(n):
                    out = zero
                    for d in range(W):
                        if i + d < m and d <= far[i + d]:
                            out = out + load(dz, (i + d) * TILE + c) * load(taps, d * C + low + c)
                    store(dx, (b * T + begin + i) * C + low + c, out)
                for i in range(min(n, W - 1 - begin)):
                    for d in range(begin + i + 1, far[i] + 1):
                        old = (b * (W - 1) + W - 1 + begin + i - d) * C + low + c
                        store(d_tail, old, load(d_tail, old) + load(dz, i * TILE + c) * load(taps, d * C + low + c))


@compiled
def instruction(line, many, first, last):
    """The short filter, token by token; tasks are rows and vectors of channels. The tail (rows,W-1,C) moves on."""
    x, xs, y, ys, tail, taps = floats(line[1]), line[2], floats(line[3]), line[4], floats(line[5]), floats(line[6])
    bias, C, W, silu = floats(line[7]), line[8], line[9], line[10]
    vectors, one = C // 16, full(np.float32(1))
    for turn in range(first * many, last * many):
        row, c = turn // many // vectors, turn // many % vectors * 16
        b = row * many + turn % many
        here, ta = load(x, b * xs + c), row * (W - 1) * C + c
        out = load(bias, c) + here * load(taps, c)  # the token's own tap first
        for d in range(1, W):
            out = out + load(tail, ta + (W - 1 - d) * C) * load(taps, d * C + c)
        for d in range(W - 2):
            store(tail, ta + d * C, load(tail, ta + (d + 1) * C))
        if W > 1:
            store(tail, ta + (W - 2) * C, here)
        store(y, b * ys + c, out / (one + exponential(one - one - out)) if silu else out)


def _rows(given: Given) -> Any:
    """x with its strides; taps, the token's own first, and the tail, in whole rows."""
    x, weight, _, tail = given
    taps = whole(weight.to(wide(x)).t().flip(0)).contiguous()
    before = taps.new_zeros(x.shape[0], len(taps) - 1, taps.shape[1])
    if tail is not None:
        before = whole(tail.to(taps.dtype)).contiguous()
    return *flat(whole(read(x, taps.dtype))), taps, before


def _offset(bias: Tensor | None, taps: Tensor) -> Tensor:
    return taps.new_zeros(taps.shape[1]) if bias is None else whole(bias.to(taps.dtype)).contiguous()


def _live(reset: Tensor | None, W: int) -> Tensor | float:
    """Which of the last W-1 tokens are in the segment of the last."""
    if reset is None:
        return 1.0
    number = reset[:, reset.shape[1] - W + 1 :].cumsum(1)
    return (number == number[:, -1:]).unsqueeze(-1)


def _forward(given: Given, reset: Tensor | None, keep: bool, silu: bool) -> tuple[Tensor, Tensor, Given]:
    x, weight, bias, tail = given
    fits("btc cw c bt", x, weight, bias, reset)
    if tail is not None and tail.shape != (x.shape[0], weight.shape[1] - 1, x.shape[2]):
        raise ValueError(f"a tail {tuple(tail.shape)} with x {tuple(x.shape)} and weight {tuple(weight.shape)}")
    fx, sx, taps, before = _rows(given)
    (B, T, _), (W, C) = x.shape, taps.shape
    offset = _offset(bias, taps)
    y = x.new_empty(B, T, C)
    arrays = (fx, line(taps), line(offset), line(before), marks(reset), line(y))
    share(forward, B * -(-T // BLOCK), y.numel(), *arrays, silu, (T, C, W), (sx,))
    return y[..., : x.shape[2]], x[:, T - W + 1 :] * _live(reset, W), ()


def _backward(given: Given, reset: Tensor | None, kept: Given, d_y: Tensor, d_last: Tensor, silu: bool) -> Given:
    x, _, bias, tail = given
    fx, sx, taps, before = _rows(given)
    fd, sd = flat(whole(read(d_y, taps.dtype)))
    (B, T, real), (W, C) = x.shape, taps.shape
    tasks = B * -(-T // BLOCK)
    dx, d_tail = x.new_empty(B, T, C), torch.zeros_like(before)
    d_taps, d_bias = taps.new_empty(tasks, W, C), taps.new_empty(tasks, C)
    out = [line(t) for t in (dx, d_taps, d_bias, d_tail)]
    given_ = (fx, line(taps), line(_offset(bias, taps)), line(before), marks(reset), fd)
    share(backward, tasks, 2 * dx.numel(), *given_, *out, silu, (T, C, W), (sx, sd))
    dx = dx[..., :real]
    dx[:, T - W + 1 :] += d_last * _live(reset, W)
    d_weight, d_offset = d_taps.sum(0).flip(0).t()[:real], None if bias is None else d_bias.sum(0)[:real]
    return dx, d_weight, d_offset, None if tail is None else d_tail[..., :real]


def causal_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    tail: Tensor | None = None,
    keys: Tensor | None = None,
    reset: Tensor | None = None,
    silu: bool = False,
) -> tuple[Tensor, Tensor]:
    """y and the last W-1 tokens, of rows of at least W tokens, all of them valid."""

    def again(*given: Any, initial_state: Tensor | None, reset: Tensor | None) -> tuple[Tensor, Tensor]:
        return causal_conv_chunked(*given, tail=initial_state, reset=reset, silu=silu)

    form = Form(partial(_forward, silu=silu), partial(_backward, silu=silu), again)
    return run(form, x, weight, bias, tail, reset=reset)
