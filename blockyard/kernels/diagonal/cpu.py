"""The element-wise scan, token by token, WIDTH channels at a time. With dh the gradient of h_t, later tokens included:

dx_t = dh        dlog_decay_t = dh * fade_t * h_{t-1}        dh_{t-1} = fade_t dh + dy_{t-1}
"""

from typing import Any

import torch
from torch import Tensor

from ..toolkit.arrays import fits, flat, line, marks, read, whole
from ..toolkit.autograd import Form, Given, run
from ..toolkit.chunks import wide
from ..toolkit.compile import aligned, compiled, copy
from ..toolkit.lanes import PAD, exponential, full, load, store
from ..toolkit.machine import floats
from ..toolkit.parallel import share
from .chunked import diagonal_scan_chunked

WIDTH = 64  # whole vectors


@compiled
def forward(x, g, reset, start, y, final, sizes, strides, first, last):
    """x, g, y (B,T,E), start and final (B,E)."""
    (T, E), ((sb, st), (gb, gt)) = sizes, strides
    tiles, h = (E + WIDTH - 1) // WIDTH, aligned(WIDTH, start)
    for task in range(first, last):
        b, begin = task // tiles, task % tiles * WIDTH
        width = min(WIDTH, E - begin)
        copy(start, b * E + begin, h, 0, width)
        for t in range(T):
            keep = full(start.dtype.type(0 if reset.size and reset[b, t] else 1))
            at, ga, to = b * sb + t * st + begin, b * gb + t * gt + begin, (b * T + t) * E + begin
            for e in range(0, width, len(keep)):
                state = keep * exponential(load(g, ga + e)) * load(h, e) + load(x, at + e)
                store(h, e, state)
                store(y, to + e, state)
        copy(h, 0, final, b * E + begin, width)


@compiled
def backward(g, reset, start, y, dy, end, dx, dg, d_start, sizes, strides, first, last):
    """end and d_start (B,E): gradients of the states."""
    (T, E), ((gb, gt), (sb, st)) = sizes, strides
    tiles, dh = (E + WIDTH - 1) // WIDTH, aligned(WIDTH, end)
    for task in range(first, last):
        b, begin = task // tiles, task % tiles * WIDTH
        width = min(WIDTH, E - begin)
        copy(end, b * E + begin, dh, 0, width)
        for t in range(T - 1, -1, -1):
            keep = full(end.dtype.type(0 if reset.size and reset[b, t] else 1))
            at, ga, to = b * sb + t * st + begin, b * gb + t * gt + begin, (b * T + t) * E + begin
            for e in range(0, width, len(keep)):
                d = load(dh, e) + load(dy, at + e)
                store(dx, to + e, d)
                d = d * keep * exponential(load(g, ga + e))
                store(dh, e, d)
                store(dg, to + e, d * (load(y, to - E + e) if t else load(start, b * E + begin + e)))
        copy(dh, 0, d_start, b * E + begin, width)


@compiled
def instruction(line, none, many, first, last):
    x, xs, g, gs = floats(line[1]), line[2], floats(line[3]), line[4]
    y, h, E = floats(line[5]), floats(line[6]), line[7]
    forward(x, g, none, h, y, h, (many, E), ((many * xs, xs), (many * gs, gs)), first, last)


def _forward(given: Given, reset: Tensor | None, keep: bool) -> tuple[Tensor, Tensor, Given]:
    x, g, start = given
    fits("bte bte be bt", *given, reset)
    (fx, sx), (fg, sg) = (flat(whole(read(t, wide(x)))) for t in (x, g))
    B, T, E = x.shape[0], x.shape[1], x.shape[2] + -x.shape[2] % PAD
    y, final = x.new_empty(B, T, E), torch.empty(B, E, dtype=wide(x))
    begin = torch.zeros_like(final) if start is None else whole(start.to(final.dtype)).contiguous()
    out = [line(t) for t in (begin, y, final)]
    share(forward, B * -(-E // WIDTH), 8 * y.numel(), fx, fg, marks(reset), *out, (T, E), (sx, sg))
    return y[..., : x.shape[2]], final[..., : x.shape[2]], (y, begin)


def _backward(given: Given, reset: Tensor | None, kept: Given, d_y: Tensor, d_final: Tensor) -> Given:
    y, begin = kept
    (B, T, E), real = y.shape, d_y.shape[2]
    (fg, sg), (fd, sd) = (flat(whole(read(t, begin.dtype))) for t in (given[1], d_y))
    dx, dg, d_start = y.new_empty(B, T, E), given[1].new_empty(B, T, E), torch.empty_like(begin)
    out = [line(t) for t in (whole(d_final).contiguous(), dx, dg, d_start)]
    ends = (line(begin), line(y), fd)
    share(backward, B * -(-E // WIDTH), 8 * y.numel(), fg, marks(reset), *ends, *out, (T, E), (sg, sd))
    return dx[..., :real], dg[..., :real], d_start[..., :real]


def diagonal_scan(
    x: Tensor, log_decay: Tensor, *, initial_state: Tensor | None = None, reset: Tensor | None = None
) -> Any:
    return run(Form(_forward, _backward, diagonal_scan_chunked), x, log_decay, initial_state, reset=reset)
