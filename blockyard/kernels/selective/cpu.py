"""The scan of a vector memory per channel, token by token, WIDTH channels at a time.

Channels are the lanes: a state is (N,E), so that every exponential is one of a vector of them and only the gradients
of B and C sum over lanes. Backward repeats the fades and states of PIECE tokens from the state before them. With dh
the gradient of h_t, the token's own reading included, and z = dh * fade_t * h_{t-1}:

    dC_t = sum_e h_t dy_t        dB_t = sum_e dh dt_t x_t        dA = sum_t z dt_t        dh_{t-1} = fade_t dh
    d(dt_t) = sum_n z A + x_t sum_n dh B_t        dx_t = dt_t sum_n dh B_t

A task is a row and WIDTH channels; each has its own dB and dC, added up at the end.
"""

from typing import Any

import torch
from torch import Tensor

from ..toolkit.arrays import fits, flat, line, marks, read, whole
from ..toolkit.autograd import Form, Given, run
from ..toolkit.chunks import wide
from ..toolkit.compile import aligned, clear, compiled, copy
from ..toolkit.lanes import PAD, exponential, full, load, splat, store, sums
from ..toolkit.machine import floats
from ..toolkit.parallel import share
from .chunked import selective_scan_chunked

PIECE = 32  # tokens between kept states: their fades and states stay in the second cache
WIDTH = 64  # whole vectors


@compiled
def tile(x, at, E, into, N, width):
    """N rows of `width` channels of x (N,E) from `at` on, as rows of WIDTH."""
    for n in range(N):
        copy(x, at + n * E, into, n * WIDTH, width)


@compiled
def untile(x, into, at, E, N, width):
    for n in range(N):
        copy(x, n * WIDTH, into, at + n * E, width)


@compiled
def step(h, A, x, xa, dt, da, B, ba, C, ca, y, ya, N, width):
    """h = exp(dt A) h + dt x B, y = C h."""
    for e in range(0, width, len(load(x, xa))):
        pace, out = load(dt, da + e), full(h.dtype.type(0))
        push = pace * load(x, xa + e)
        for n in range(N):
            at = n * WIDTH + e
            s = exponential(pace * load(A, at)) * load(h, at) + push * splat(B, ba + n)
            store(h, at, s)
            out = out + splat(C, ca + n) * s
        store(y, ya + e, out)


@compiled
def forward(x, dt, A, B, C, reset, start, y, final, kept, sizes, strides, first, last):
    """A (N,E), start and final (B,N,E), kept (B,pieces,N,E) or nothing, y (B,T,E)."""
    T, E, N = sizes
    sx, st, sb, sc = strides
    tiles, pieces = (E + WIDTH - 1) // WIDTH, (T + PIECE - 1) // PIECE
    rate, h = aligned(N * WIDTH, start), aligned(N * WIDTH, start)
    for task in range(first, last):
        b, at = task // tiles, task % tiles * WIDTH
        width = min(WIDTH, E - at)
        tile(A, at, E, rate, N, width)
        tile(start, b * N * E + at, E, h, N, width)
        for t in range(T):
            if kept.size and t % PIECE == 0:
                untile(h, kept, (b * pieces + t // PIECE) * N * E + at, E, N, width)
            if reset.size and reset[b, t]:
                clear(h, 0, N * WIDTH)
            xa, da = b * sx[0] + t * sx[1] + at, b * st[0] + t * st[1] + at
            ba, ca = b * sb[0] + t * sb[1], b * sc[0] + t * sc[1]
            step(h, rate, x, xa, dt, da, B, ba, C, ca, y, (b * T + t) * E + at, N, width)
        untile(h, final, b * N * E + at, E, N, width)


@compiled
def advance(h, before, after, fades, fa, A, x, xa, dt, da, B, ba, keep, N, width):
    """The fades of one token, and the state after it from the one before."""
    clears = full(keep)
    for e in range(0, width, len(clears)):
        pace = load(dt, da + e)
        push = pace * load(x, xa + e)
        for n in range(N):
            at = n * WIDTH + e
            fade = exponential(pace * load(A, at)) * clears
            store(fades, fa + at, fade)
            store(h, after + at, fade * load(h, before + at) + push * splat(B, ba + n))


@compiled
def back(dh, h, before, after, fades, fa, A, x, xa, dt, da, B, ba, C, ca, dy, ga, dA, dx, d_dt, oa, N, width, room):
    """One token's gradients; dh becomes that of the state before it. `room` gets N vectors of dB, and after of dC."""
    zero = full(dh.dtype.type(0))
    lanes = len(zero)
    clear(room, 0, 2 * N * lanes)
    for e in range(0, width, lanes):
        pace, value, grad = load(dt, da + e), load(x, xa + e), load(dy, ga + e)
        push, d_push, d_pace = pace * value, zero, zero
        for n in range(N):
            at, used, found = n * WIDTH + e, n * lanes, (N + n) * lanes
            g = load(dh, at) + grad * splat(C, ca + n)
            store(room, used, load(room, used) + g * push)
            store(room, found, load(room, found) + load(h, after + at) * grad)
            d_push = d_push + g * splat(B, ba + n)
            g = g * load(fades, fa + at)
            store(dh, at, g)
            z = g * load(h, before + at)
            d_pace = d_pace + z * load(A, at)
            store(dA, at, load(dA, at) + z * pace)
        store(d_dt, oa + e, d_pace + d_push * value)
        store(dx, oa + e, d_push * pace)


@compiled
def backward(x, dt, A, B, C, reset, kept, dy, end, dx, d_dt, dA, dB, dC, begin, sizes, strides, first, last):
    """end and begin (B,N,E): gradients of the states; dA (B,N,E), dB and dC (tiles,B,T,N)."""
    rows, T, E, N, state = sizes
    sx, st, sb, sc, sd = strides
    tiles, pieces, size, lanes = (E + WIDTH - 1) // WIDTH, (T + PIECE - 1) // PIECE, state * WIDTH, len(load(x, 0))
    h, fades, room = aligned((PIECE + 1) * size, end), aligned(PIECE * size, end), aligned(2 * N * PAD, end)
    rate, dh, d_rate = aligned(size, end), aligned(size, end), aligned(size, end)
    for task in range(first, last):
        b, at = task // tiles, task % tiles * WIDTH
        width, corner = min(WIDTH, E - at), b * state * E + at
        tile(A, at, E, rate, state, width)
        tile(end, corner, E, dh, state, width)
        clear(d_rate, 0, size)
        for t0 in range((T - 1) // PIECE * PIECE, -1, -PIECE):
            count = min(PIECE, T - t0)
            tile(kept, (b * pieces + t0 // PIECE) * state * E + at, E, h, state, width)
            for i in range(count):
                t = t0 + i
                keep = end.dtype.type(0 if reset.size and reset[b, t] else 1)
                xa, da, ba = b * sx[0] + t * sx[1] + at, b * st[0] + t * st[1] + at, b * sb[0] + t * sb[1]
                advance(h, i * size, (i + 1) * size, fades, i * size, rate, x, xa, dt, da, B, ba, keep, state, width)
            for i in range(count - 1, -1, -1):
                t = t0 + i
                xa, da, ga = b * sx[0] + t * sx[1] + at, b * st[0] + t * st[1] + at, b * sd[0] + t * sd[1] + at
                ba, ca, oa = b * sb[0] + t * sb[1], b * sc[0] + t * sc[1], (b * T + t) * E + at
                back(
                    dh, h, i * size, (i + 1) * size, fades, i * size, rate, x, xa, dt, da, B, ba, C, ca, dy, ga,
                    d_rate, dx, d_dt, oa, state, width, room,
                )  # fmt: skip
                to = ((task % tiles * rows + b) * T + t) * N
                for n in range(0, state, lanes):
                    store(dB, to + n, sums(room, n * lanes))
                    store(dC, to + n, sums(room, (state + n) * lanes))
        untile(d_rate, dA, corner, E, state, width)
        untile(dh, begin, corner, E, state, width)


@compiled
def instruction(line, none, many, first, last):
    x, xs, dt, ds, A, y = floats(line[1]), line[2], floats(line[3]), line[4], floats(line[5]), floats(line[6])
    B, bs, C, cs, h, E, N = floats(line[7]), line[8], floats(line[9]), line[10], floats(line[11]), line[12], line[13]
    strides = ((many * xs, xs), (many * ds, ds), (many * bs, bs), (many * cs, cs))
    forward(x, dt, A, B, C, none, h, y, h, floats(0)[:0], (many, E, N), strides, first, last)


def _rows(given: Any, dtype: torch.dtype) -> Any:
    return zip(*(flat(whole(read(t, dtype))) for t in given))


def _forward(given: Given, reset: Tensor | None, keep: bool) -> tuple[Tensor, Tensor, Given]:
    x, dt, A, B, C, start = given
    fits("bte bte en btn btn ben bt", *given, reset)
    dtype, (rows, T, E), N = wide(x), x.shape, A.shape[1]
    (fx, ft, fb, fc), strides = _rows((x, dt, B, C), dtype)
    rate = whole(A.to(dtype).t()).contiguous()
    broad = rate.shape[1]
    y, final = x.new_empty(rows, T, broad), rate.new_empty(rows, N, broad)
    kept = rate.new_empty(rows, -(-T // PIECE) if keep else 0, N, broad)
    begin = torch.zeros_like(final) if start is None else whole(start.to(dtype).transpose(1, 2)).contiguous()
    out = [line(t) for t in (begin, y, final, kept)]
    tasks, sizes = rows * -(-E // WIDTH), (T, broad, N)
    share(forward, tasks, y.numel() * N, fx, ft, line(rate), fb, fc, marks(reset), *out, sizes, strides)
    return y[..., :E], final[..., :E].transpose(1, 2), (kept,)


def _backward(given: Given, reset: Tensor | None, kept: Given, d_y: Tensor, d_final: Tensor) -> Given:
    x, dt, A, B, C, _ = given
    dtype, (rows, T, E), N = wide(x), x.shape, A.shape[1]
    (fx, ft, fb, fc, fd), strides = _rows((x, dt, B, C, d_y), dtype)
    rate, end = whole(A.to(dtype).t()).contiguous(), whole(d_final.transpose(1, 2)).contiguous()
    broad, deep, tiles = rate.shape[1], N + -N % PAD, -(-E // WIDTH)
    (dx, d_dt), d_start = rate.new_empty(2, rows, T, broad), torch.empty_like(end)
    (dB, dC), dA = rate.new_empty(2, tiles, rows, T, deep), torch.empty_like(end)
    out = [line(t) for t in (end, dx, d_dt, dA, dB, dC, d_start)]
    given_ = (fx, ft, line(rate), fb, fc, marks(reset), line(kept[0]), fd)
    share(backward, rows * tiles, dx.numel() * N, *given_, *out, (rows, T, broad, deep, N), strides)
    dB, dC = (t.sum(0)[..., :N] for t in (dB, dC))
    return dx[..., :E], d_dt[..., :E], dA.sum(0)[:, :E].t(), dB, dC, d_start[..., :E].transpose(1, 2)


def selective_scan(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    *,
    initial_state: Tensor | None = None,
    reset: Tensor | None = None,
) -> Any:
    return run(Form(_forward, _backward, selective_scan_chunked), x, dt, A, B, C, initial_state, reset=reset)
