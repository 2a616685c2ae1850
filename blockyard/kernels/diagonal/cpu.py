"""The element-wise scan, token by token, WIDTH channels at a time. With dh the gradient of h_t, later tokens
included, g the log-decays and decay_t = exp(g_t):

dx_t = dh        dg_t = dh * decay_t * h_{t-1}        dh_{t-1} = decay_t dh + dy_{t-1}
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..toolkit.arrays import check_axes, loadable, padded, raveled, reset_bytes, strided
from ..toolkit.autograd import Form, Given, run
from ..toolkit.chunks import state_dtype
from ..toolkit.compile import aligned_zeros, compiled, copy, token_offset
from ..toolkit.lanes import PAD, exponential, full, load, store
from ..toolkit.machine import borrowed, float32_at, operand
from ..toolkit.parallel import parallel_for
from .chunked import diagonal_scan_chunked

WIDTH = 64  # whole vectors


class Grads(NamedTuple):
    """dx, dg (B,T,E), and that of the first state (B,E)."""

    x: np.ndarray
    g: np.ndarray
    start: np.ndarray


@compiled
def forward(x, g, reset, start, y, final, sizes, first, last):
    """x, g, y (B,T,E), start and final (B,E)."""
    x, g, reset, y = borrowed((x, g, reset, y))
    T, E = sizes
    tiles, h = (E + WIDTH - 1) // WIDTH, aligned_zeros(WIDTH, start)
    for task in range(first, last):
        b, channel = task // tiles, task % tiles * WIDTH
        width = min(WIDTH, E - channel)
        copy(start, b * E + channel, h, 0, width)
        for t in range(T):
            keep = full(start.dtype.type(0 if reset.size and reset[b, t] else 1))
            at, g_at, to = token_offset(x, b, t) + channel, token_offset(g, b, t) + channel, (b * T + t) * E + channel
            for e in range(0, width, len(keep)):
                state = keep * exponential(load(g.data, g_at + e)) * load(h, e) + load(x.data, at + e)
                store(h, e, state)
                store(y, to + e, state)
        copy(h, 0, final, b * E + channel, width)


@compiled
def backward(g, reset, start, y, dy, end, grads, sizes, first, last):
    """start, end (B,E): the first state, and the gradient of the last one."""
    g, reset, start, y, dy, grads = borrowed((g, reset, start, y, dy, grads))
    T, E = sizes
    tiles, dh = (E + WIDTH - 1) // WIDTH, aligned_zeros(WIDTH, end)
    for task in range(first, last):
        b, channel = task // tiles, task % tiles * WIDTH
        width = min(WIDTH, E - channel)
        copy(end, b * E + channel, dh, 0, width)
        for t in range(T - 1, -1, -1):
            keep = full(end.dtype.type(0 if reset.size and reset[b, t] else 1))
            at, g_at, to = token_offset(dy, b, t) + channel, token_offset(g, b, t) + channel, (b * T + t) * E + channel
            for e in range(0, width, len(keep)):
                d = load(dh, e) + load(dy.data, at + e)
                store(grads.x, to + e, d)
                d = d * keep * exponential(load(g.data, g_at + e))
                store(dh, e, d)
                store(grads.g, to + e, d * (load(y, to - E + e) if t else load(start, b * E + channel + e)))
        copy(dh, 0, grads.start, b * E + channel, width)


@compiled
def instruction(code, none, many, first, last):
    """One token, or `many` of a row."""
    y, h, E = float32_at(code[5]), float32_at(code[6]), code[7]
    forward(operand(code, 1, many, E), operand(code, 3, many, E), none, h, y, h, (many, E), first, last)


def _forward(given: Given, reset: Tensor | None, keep: bool) -> tuple[Tensor, Tensor, Given]:
    x, g, start = given
    check_axes("bte bte be bt", *given, reset)
    rows = [strided(padded(loadable(t, state_dtype(x)))) for t in (x, g)]
    B, T, E = x.shape[0], x.shape[1], x.shape[2] + -x.shape[2] % PAD
    y, final = x.new_empty(B, T, E), torch.empty(B, E, dtype=state_dtype(x))
    begin = torch.zeros_like(final) if start is None else padded(start.to(final.dtype)).contiguous()
    out = [raveled(t) for t in (begin, y, final)]
    parallel_for(forward, B * -(-E // WIDTH), 8 * y.numel(), *rows, reset_bytes(reset), *out, (T, E))
    return y[..., : x.shape[2]], final[..., : x.shape[2]], (y, begin)


def _backward(given: Given, reset: Tensor | None, kept: Given, d_y: Tensor, d_final: Tensor) -> Given:
    y, begin = kept
    (B, T, E), real = y.shape, d_y.shape[2]
    g, dy = (strided(padded(loadable(t, begin.dtype))) for t in (given[1], d_y))
    dx, dg, d_start = y.new_empty(B, T, E), given[1].new_empty(B, T, E), torch.empty_like(begin)
    ends = (raveled(begin), raveled(y), dy, raveled(padded(d_final).contiguous()))
    grads = Grads(*map(raveled, (dx, dg, d_start)))
    parallel_for(backward, B * -(-E // WIDTH), 8 * y.numel(), g, reset_bytes(reset), *ends, grads, (T, E))
    return dx[..., :real], dg[..., :real], d_start[..., :real]


def diagonal_scan(
    x: Tensor, log_decay: Tensor, *, initial_state: Tensor | None = None, reset: Tensor | None = None
) -> Any:
    return run(Form(_forward, _backward, diagonal_scan_chunked), x, log_decay, initial_state, reset=reset)
