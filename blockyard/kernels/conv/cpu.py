"""The short filter, a tile of tokens and channels at a time, with the W-1 tokens before it.

A tap that reaches d tokens back is used where the token has d tokens before it in its segment, the tail included.
Backward reads the taps from the other side, and sums the gradients of taps and bias by blocks of tokens. With z what
the filter sums and dz its gradient (dy, or dy silu'(z) where silu is taken: z is computed once more):

    dx_t = sum_d taps_d dz_{t+d}        dtaps_d = sum_t dz_t x_{t-d}        dbias = sum_t dz_t

i counts the tokens of a tile, c its channels, d how many tokens back a tap reads.
"""

from functools import partial
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from ..toolkit.arrays import Strided, check_axes, loadable, padded, raveled, reset_bytes, strided
from ..toolkit.autograd import Form, Given, run
from ..toolkit.chunks import state_dtype
from ..toolkit.compile import aligned_zeros, compiled, copy, inlined, token_offset
from ..toolkit.lanes import exponential, full, load, store
from ..toolkit.machine import borrowed, float32_at
from ..toolkit.parallel import parallel_for
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


class Filter(NamedTuple):
    """Taps (W,C), the token's own first, bias (C), and the tokens before (B,W-1,C)."""

    taps: np.ndarray
    bias: np.ndarray
    tail: np.ndarray
    silu: bool


class Grads(NamedTuple):
    """dx (B,T,C), of the taps (tasks,W,C), of the bias (tasks,C), and of the tail, which starts at zero."""

    x: np.ndarray
    taps: np.ndarray
    bias: np.ndarray
    tail: np.ndarray


class Sizes(NamedTuple):
    T: int
    C: int
    W: int


class Tile(NamedTuple):
    """Tokens of row b from `begin` to `end` and W-1 before, channels from `low` to `high`; how far each may look."""

    rows: np.ndarray
    far: np.ndarray
    b: int
    begin: int
    end: int
    low: int
    high: int


@inlined
def gather(x, weights, tile, sizes):
    """A tile's rows: TILE numbers a token."""
    W, n = sizes.W, tile.high - tile.low
    for t in range(tile.begin - W + 1, tile.end):
        to = (t - tile.begin + W - 1) * TILE
        if t < 0:
            copy(weights.tail, (tile.b * (W - 1) + W - 1 + t) * sizes.C + tile.low, tile.rows, to, n)
        else:
            copy(x.data, token_offset(x, tile.b, t) + tile.low, tile.rows, to, n)


@inlined
def filtered_at(weights, tile, i, c, sizes):
    """What the filter sums for the tile's token i, of its channels from c on."""
    out = load(weights.bias, tile.low + c)
    for d in range(sizes.W):
        if d <= tile.far[i]:
            tap = load(weights.taps, d * sizes.C + tile.low + c)
            out = out + load(tile.rows, (i + sizes.W - 1 - d) * TILE + c) * tap
    return out


@compiled
def forward(x, weights, reset, y, sizes, first, last):
    """x, y (B,T,C)."""
    x, weights, reset, y = borrowed((x, weights, reset, y))
    T, C, W = sizes
    blocks, one = (T + BLOCK - 1) // BLOCK, full(weights.taps.dtype.type(1))
    rows, far = aligned_zeros((BLOCK + W) * TILE, weights.taps), np.empty(BLOCK, np.int64)
    for task in range(first, last):
        b, begin = task // blocks, task % blocks * BLOCK
        end = min(begin + BLOCK, T)
        reaches(reset, b, begin, end, W - 1, far)
        for low in range(0, C, TILE):
            tile = borrowed(Tile(rows, far, b, begin, end, low, min(low + TILE, C)))
            gather(x, weights, tile, sizes)
            for i in range(end - begin):
                for c in range(0, tile.high - low, len(one)):
                    z = filtered_at(weights, tile, i, c, sizes)
                    to = (b * T + begin + i) * C + low + c
                    store(y, to, z / (one + exponential(one - one - z)) if weights.silu else z)


@compiled
def slopes(weights, tile, dy, dz, sizes):
    """dz of a tile."""
    one = full(dz.dtype.type(1))
    for i in range(tile.end - tile.begin):
        for c in range(0, tile.high - tile.low, len(one)):
            grad = load(dy.data, token_offset(dy, tile.b, tile.begin + i) + tile.low + c)
            if weights.silu:
                z = filtered_at(weights, tile, i, c, sizes)
                sigmoid = one / (one + exponential(one - one - z))
                grad = grad * sigmoid * (one + z * (one - sigmoid))
            store(dz, i * TILE + c, grad)


@compiled
def spread(weights, tile, dz, grads, task, n, sizes):
    """What the gradients of a tile's first n tokens get of dz, and those of the tail."""
    (T, C, W), (rows, far, b, begin, end, low, high), taps = sizes, tile, weights.taps
    zero = full(dz.dtype.type(0))
    for c in range(0, high - low, len(zero)):
        both = zero
        for i in range(n):
            both = both + load(dz, i * TILE + c)
        store(grads.bias, task * C + low + c, both)
        for d in range(W):
            both = zero
            for i in range(n):
                if d <= far[i]:
                    both = both + load(dz, i * TILE + c) * load(rows, (i + W - 1 - d) * TILE + c)
            store(grads.taps, (task * W + d) * C + low + c, both)
        for i in range(n):
            out = zero
            for d in range(W):
                if i + d < end - begin and d <= far[i + d]:
                    out = out + load(dz, (i + d) * TILE + c) * load(taps, d * C + low + c)
            store(grads.x, (b * T + begin + i) * C + low + c, out)
        for i in range(min(n, W - 1 - begin)):
            for d in range(begin + i + 1, far[i] + 1):
                old = (b * (W - 1) + W - 1 + begin + i - d) * C + low + c
                more = load(dz, i * TILE + c) * load(taps, d * C + low + c)
                store(grads.tail, old, load(grads.tail, old) + more)


@compiled
def backward(x, weights, reset, dy, grads, sizes, first, last):
    x, weights, reset, dy, grads = borrowed((x, weights, reset, dy, grads))
    T, C, W = sizes
    blocks = (T + BLOCK - 1) // BLOCK
    rows, dz = aligned_zeros((BLOCK + 2 * W) * TILE, weights.taps), aligned_zeros((BLOCK + W) * TILE, weights.taps)
    far = np.empty(BLOCK + W, np.int64)
    for task in range(first, last):
        b, begin = task // blocks, task % blocks * BLOCK
        n = min(BLOCK, T - begin)
        end = min(begin + n + W - 1, T)  # of those that look back at the n tokens
        reaches(reset, b, begin, end, W - 1, far)
        for low in range(0, C, TILE):
            tile = borrowed(Tile(rows, far, b, begin, end, low, min(low + TILE, C)))
            gather(x, weights, tile, sizes)
            slopes(weights, tile, dy, dz, sizes)
            spread(weights, tile, dz, grads, task, n, sizes)


@compiled
def instruction(code, many, first, last):
    """The short filter, token by token; tasks are rows and vectors of channels. The tail (rows,W-1,C) moves on."""
    x, xs, y, ys, tail, taps = (
        float32_at(code[1]),
        code[2],
        float32_at(code[3]),
        code[4],
        float32_at(code[5]),
        float32_at(code[6]),
    )
    bias, C, W, silu = float32_at(code[7]), code[8], code[9], code[10]
    vectors, one = C // 16, full(np.float32(1))
    for unit in range(first * many, last * many):
        row, c = unit // many // vectors, unit // many % vectors * 16
        b = row * many + unit % many
        here, ta = load(x, b * xs + c), row * (W - 1) * C + c
        out = load(bias, c) + here * load(taps, c)  # the token's own tap first
        for d in range(1, W):
            out = out + load(tail, ta + (W - 1 - d) * C) * load(taps, d * C + c)
        for d in range(W - 2):
            store(tail, ta + d * C, load(tail, ta + (d + 1) * C))
        if W > 1:
            store(tail, ta + (W - 2) * C, here)
        store(y, b * ys + c, out / (one + exponential(one - one - out)) if silu else out)


def _rows(given: Given, silu: bool) -> tuple[Strided, Tensor, Filter]:
    """x, the filter and the tail in whole rows."""
    x, weight, bias, tail = given
    taps = padded(weight.to(state_dtype(x)).t().flip(0)).contiguous()
    before = taps.new_zeros(x.shape[0], len(taps) - 1, taps.shape[1])
    if tail is not None:
        before = padded(tail.to(taps.dtype)).contiguous()
    offset = taps.new_zeros(taps.shape[1]) if bias is None else padded(bias.to(taps.dtype)).contiguous()
    weights = Filter(raveled(taps), raveled(offset), raveled(before), silu)
    return strided(padded(loadable(x, taps.dtype))), taps, weights


def _live(reset: Tensor | None, W: int) -> Tensor | float:
    """Which of the last W-1 tokens are in the segment of the last."""
    if reset is None:
        return 1.0
    number = reset[:, reset.shape[1] - W + 1 :].cumsum(1)
    return (number == number[:, -1:]).unsqueeze(-1)


def _forward(given: Given, reset: Tensor | None, keep: bool, silu: bool) -> tuple[Tensor, Tensor, Given]:
    x, weight, bias, tail = given
    check_axes("btc cw c bt", x, weight, bias, reset)
    if tail is not None and tail.shape != (x.shape[0], weight.shape[1] - 1, x.shape[2]):
        raise ValueError(f"a tail {tuple(tail.shape)} with x {tuple(x.shape)} and weight {tuple(weight.shape)}")
    rows, taps, weights = _rows(given, silu)
    (B, T, _), (W, C) = x.shape, taps.shape
    y = x.new_empty(B, T, C)
    given_ = (rows, weights, reset_bytes(reset), raveled(y))
    parallel_for(forward, B * -(-T // BLOCK), y.numel(), *given_, Sizes(T, C, W))
    return y[..., : x.shape[2]], x[:, T - W + 1 :] * _live(reset, W), ()


def _backward(given: Given, reset: Tensor | None, kept: Given, d_y: Tensor, d_last: Tensor, silu: bool) -> Given:
    x, _, bias, tail = given
    rows, taps, weights = _rows(given, silu)
    dy = strided(padded(loadable(d_y, taps.dtype)))
    (B, T, real), (W, C) = x.shape, taps.shape
    tasks = B * -(-T // BLOCK)
    dx, d_tail = x.new_empty(B, T, C), taps.new_zeros(B, W - 1, C)
    d_taps, d_bias = taps.new_empty(tasks, W, C), taps.new_empty(tasks, C)
    grads = Grads(*map(raveled, (dx, d_taps, d_bias, d_tail)))
    parallel_for(backward, tasks, 2 * dx.numel(), rows, weights, reset_bytes(reset), dy, grads, Sizes(T, C, W))
    dx = dx[..., :real]
    dx[:, T - W + 1 :] += d_last * _live(reset, W)
    d_weight, d_offset = d_taps.sum(0).flip(0).t()[:real], None if bias is None else d_bias.sum(0)[:real]
    return dx, d_weight, d_offset, None if tail is None else d_tail[..., :real]


def causal_conv(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, tail: Tensor | None = None, valid: Tensor | None = None,
    reset: Tensor | None = None, silu: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """y and the last W-1 tokens, of rows of at least W tokens, all of them valid."""

    def again(*given: Any, initial_state: Tensor | None, reset: Tensor | None) -> tuple[Tensor, Tensor]:
        return causal_conv_chunked(*given, tail=initial_state, reset=reset, silu=silu)

    form = Form(partial(_forward, silu=silu), partial(_backward, silu=silu), again)
    return run(form, x, weight, bias, tail, reset=reset)
