"""The scan of a vector memory per channel, token by token, WIDTH channels at a time.

Channels are the lanes: a state is (N,E), so that every exponential is one of a vector of them and only the gradients
of B and C sum over lanes. Backward repeats the decays and states of PIECE tokens from the state before them. With dh
the gradient of h_t, the token's own reading included, decay_t = exp(dt_t A) and z = dh * decay_t * h_{t-1}:

    dC_t = sum_e h_t dy_t        dB_t = sum_e dh dt_t x_t        dA = sum_t z dt_t        dh_{t-1} = decay_t dh
    d(dt_t) = sum_n z A + x_t sum_n dh B_t        dx_t = dt_t sum_n dh B_t

A task is a row and WIDTH channels, a tile; each has its own dB and dC, added up at the end. `at`: where a token's rows
begin; e and n count channels and the N of a state.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..toolkit.arrays import Strided, check_axes, loadable, padded, raveled, reset_bytes, strided
from ..toolkit.autograd import Form, Given, run
from ..toolkit.chunks import state_dtype
from ..toolkit.compile import aligned_zeros, clear, compiled, copy, inlined, token_offset
from ..toolkit.lanes import PAD, exponential, full, load, reduce_rows, splat, store
from ..toolkit.machine import borrowed, float32_at, operand
from ..toolkit.parallel import parallel_for
from .chunked import selective_scan_chunked

PIECE = 32  # tokens between kept states: their decays and states stay in the second cache
WIDTH = 64  # whole vectors


class Inputs(NamedTuple):
    """x, dt (B,T,E), B and C (B,T,N)."""

    x: Strided
    dt: Strided
    B: Strided
    C: Strided


class Grads(NamedTuple):
    """dx, d(dt) (B,T,E), dA (B,N,E), dB and dC (tiles,B,T,N), and that of the first state (B,N,E)."""

    x: np.ndarray
    dt: np.ndarray
    A: np.ndarray
    B: np.ndarray
    C: np.ndarray
    start: np.ndarray


class Sizes(NamedTuple):
    """Strided, tokens, channels, numbers of dB and dC a token, numbers of a state a channel."""

    rows: int
    T: int
    E: int
    N: int
    state: int


class At(NamedTuple):
    """Where a token's rows begin."""

    x: int
    dt: int
    B: int
    C: int


class Tile(NamedTuple):
    """What backward keeps of its channels (N,WIDTH): states and decays of a piece; A, dh and dA; sums for dB and dC."""

    h: np.ndarray
    decays: np.ndarray
    A: np.ndarray
    dh: np.ndarray
    dA: np.ndarray
    partial: np.ndarray


@inlined
def rows_at(given, b, t, channel):
    """A token's rows, from a channel on."""
    x, dt = token_offset(given.x, b, t) + channel, token_offset(given.dt, b, t) + channel
    return At(x, dt, token_offset(given.B, b, t), token_offset(given.C, b, t))


@compiled
def read_tile(x, at, E, into, N, width):
    """N rows of `width` channels of x (N,E) from `at` on, as rows of WIDTH."""
    for n in range(N):
        copy(x, at + n * E, into, n * WIDTH, width)


@compiled
def write_tile(x, into, at, E, N, width):
    for n in range(N):
        copy(x, n * WIDTH, into, at + n * E, width)


@compiled
def step(h, A, given, at, y, to, N, width):
    """h = exp(dt A) h + dt x B, y = C h."""
    x, dt, B, C = given.x.data, given.dt.data, given.B.data, given.C.data
    for e in range(0, width, len(load(x, at.x))):
        pace, out = load(dt, at.dt + e), full(h.dtype.type(0))
        push = pace * load(x, at.x + e)
        for n in range(N):
            here = n * WIDTH + e
            s = exponential(pace * load(A, here)) * load(h, here) + push * splat(B, at.B + n)
            store(h, here, s)
            out = out + splat(C, at.C + n) * s
        store(y, to + e, out)


@compiled
def forward(given, A, reset, start, y, final, kept, sizes, first, last):
    """A (N,E), start and final (B,N,E), kept (B,pieces,N,E) or nothing, y (B,T,E)."""
    given, reset, y = borrowed((given, reset, y))
    T, E, N = sizes.T, sizes.E, sizes.state
    tiles, pieces = (E + WIDTH - 1) // WIDTH, (T + PIECE - 1) // PIECE
    rate, h = aligned_zeros(N * WIDTH, start), aligned_zeros(N * WIDTH, start)
    for task in range(first, last):
        b, channel = task // tiles, task % tiles * WIDTH
        width = min(WIDTH, E - channel)
        read_tile(A, channel, E, rate, N, width)
        read_tile(start, b * N * E + channel, E, h, N, width)
        for t in range(T):
            if kept.size and t % PIECE == 0:
                write_tile(h, kept, (b * pieces + t // PIECE) * N * E + channel, E, N, width)
            if reset.size and reset[b, t]:
                clear(h, 0, N * WIDTH)
            step(h, rate, given, rows_at(given, b, t, channel), y, (b * T + t) * E + channel, N, width)
        write_tile(h, final, b * N * E + channel, E, N, width)


@compiled
def advance(tile, i, given, at, keep, N, width):
    """The decays of a piece's token i, and the state after it from the one before."""
    x, dt, B, h = given.x.data, given.dt.data, given.B.data, tile.h
    clears, size = full(keep), N * WIDTH
    for e in range(0, width, len(clears)):
        pace = load(dt, at.dt + e)
        push = pace * load(x, at.x + e)
        for n in range(N):
            here = i * size + n * WIDTH + e
            decay = exponential(pace * load(tile.A, n * WIDTH + e)) * clears
            store(tile.decays, here, decay)
            store(h, here + size, decay * load(h, here) + push * splat(B, at.B + n))


@compiled
def backward_step(tile, i, given, at, dy, d_at, grads, to, N, width):
    """Gradients of a piece's token i; dh becomes that of the state before it. `partial`: N vectors of dB, and of dC."""
    x, dt, B, C = given.x.data, given.dt.data, given.B.data, given.C.data
    h, decays, A, dh, dA, partial = tile.h, tile.decays, tile.A, tile.dh, tile.dA, tile.partial
    zero, size = full(dh.dtype.type(0)), N * WIDTH
    lanes = len(zero)
    clear(partial, 0, 2 * N * lanes)
    for e in range(0, width, lanes):
        pace, value, grad = load(dt, at.dt + e), load(x, at.x + e), load(dy, d_at + e)
        push, d_push, d_pace = pace * value, zero, zero
        for n in range(N):
            here, used, found = n * WIDTH + e, n * lanes, (N + n) * lanes
            g = load(dh, here) + grad * splat(C, at.C + n)
            store(partial, used, load(partial, used) + g * push)
            store(partial, found, load(partial, found) + load(h, (i + 1) * size + here) * grad)
            d_push = d_push + g * splat(B, at.B + n)
            g = g * load(decays, i * size + here)
            store(dh, here, g)
            z = g * load(h, i * size + here)
            d_pace = d_pace + z * load(A, here)
            store(dA, here, load(dA, here) + z * pace)
        store(grads.dt, to + e, d_pace + d_push * value)
        store(grads.x, to + e, d_push * pace)


@compiled
def backward(given, A, reset, kept, dy, end, grads, sizes, first, last):
    """end (B,N,E): the gradient of the last state."""
    given, reset, dy, grads = borrowed((given, reset, dy, grads))
    rows, T, E, N, state = sizes
    tiles, pieces, size, lanes = (E + WIDTH - 1) // WIDTH, (T + PIECE - 1) // PIECE, state * WIDTH, len(load(end, 0))
    h, decays, partial = (
        aligned_zeros((PIECE + 1) * size, end),
        aligned_zeros(PIECE * size, end),
        aligned_zeros(2 * N * PAD, end),
    )
    tile = Tile(h, decays, aligned_zeros(size, end), aligned_zeros(size, end), aligned_zeros(size, end), partial)
    for task in range(first, last):
        b, channel = task // tiles, task % tiles * WIDTH
        width, corner = min(WIDTH, E - channel), b * state * E + channel
        read_tile(A, channel, E, tile.A, state, width)
        read_tile(end, corner, E, tile.dh, state, width)
        clear(tile.dA, 0, size)
        for t0 in range((T - 1) // PIECE * PIECE, -1, -PIECE):
            count = min(PIECE, T - t0)
            read_tile(kept, (b * pieces + t0 // PIECE) * state * E + channel, E, h, state, width)
            for i in range(count):
                keep = end.dtype.type(0 if reset.size and reset[b, t0 + i] else 1)
                advance(tile, i, given, rows_at(given, b, t0 + i, channel), keep, state, width)
            for i in range(count - 1, -1, -1):
                t = t0 + i
                at, d_at, to = (
                    rows_at(given, b, t, channel),
                    token_offset(dy, b, t) + channel,
                    (b * T + t) * E + channel,
                )
                backward_step(tile, i, given, at, dy.data, d_at, grads, to, state, width)
                to = ((task % tiles * rows + b) * T + t) * N
                for n in range(0, state, lanes):
                    store(grads.B, to + n, reduce_rows(partial, n * lanes))
                    store(grads.C, to + n, reduce_rows(partial, (state + n) * lanes))
        write_tile(tile.dA, grads.A, corner, E, state, width)
        write_tile(tile.dh, grads.start, corner, E, state, width)


@compiled
def instruction(code, none, many, first, last):
    """One token, or `many` of a row."""
    A, y, h, E, N = float32_at(code[5]), float32_at(code[6]), float32_at(code[11]), code[12], code[13]
    given = Inputs(
        operand(code, 1, many, E), operand(code, 3, many, E), operand(code, 7, many, N), operand(code, 9, many, N)
    )
    forward(given, A, none, h, y, h, float32_at(0)[:0], Sizes(1, many, E, N, N), first, last)


def _rows(given: Any, dtype: torch.dtype) -> list[Strided]:
    return [strided(padded(loadable(t, dtype))) for t in given]


def _forward(given: Given, reset: Tensor | None, keep: bool) -> tuple[Tensor, Tensor, Given]:
    x, dt, A, B, C, start = given
    check_axes("bte bte en btn btn ben bt", *given, reset)
    dtype, (rows, T, E), N = state_dtype(x), x.shape, A.shape[1]
    inputs = Inputs(*_rows((x, dt, B, C), dtype))
    rate = padded(A.to(dtype).t()).contiguous()
    broad = rate.shape[1]
    y, final = x.new_empty(rows, T, broad), rate.new_empty(rows, N, broad)
    kept = rate.new_empty(rows, -(-T // PIECE) if keep else 0, N, broad)
    begin = torch.zeros_like(final) if start is None else padded(start.to(dtype).transpose(1, 2)).contiguous()
    out = [raveled(t) for t in (begin, y, final, kept)]
    tasks, sizes = rows * -(-E // WIDTH), Sizes(rows, T, broad, N, N)
    parallel_for(forward, tasks, y.numel() * N, inputs, raveled(rate), reset_bytes(reset), *out, sizes)
    return y[..., :E], final[..., :E].transpose(1, 2), (kept,)


def _backward(given: Given, reset: Tensor | None, kept: Given, d_y: Tensor, d_final: Tensor) -> Given:
    x, dt, A, B, C, _ = given
    dtype, (rows, T, E), N = state_dtype(x), x.shape, A.shape[1]
    *inputs, dy = _rows((x, dt, B, C, d_y), dtype)
    rate, end = padded(A.to(dtype).t()).contiguous(), padded(d_final.transpose(1, 2)).contiguous()
    broad, deep, tiles = rate.shape[1], N + -N % PAD, -(-E // WIDTH)
    (dx, d_dt), d_start = rate.new_empty(2, rows, T, broad), torch.empty_like(end)
    (dB, dC), dA = rate.new_empty(2, tiles, rows, T, deep), torch.empty_like(end)
    grads, sizes = Grads(*map(raveled, (dx, d_dt, dA, dB, dC, d_start))), Sizes(rows, T, broad, deep, N)
    ends = (raveled(rate), reset_bytes(reset), raveled(kept[0]), dy, raveled(end))
    parallel_for(backward, rows * tiles, dx.numel() * N, Inputs(*inputs), *ends, grads, sizes)
    dB, dC = (t.sum(0)[..., :N] for t in (dB, dC))
    return dx[..., :E], d_dt[..., :E], dA.sum(0)[:, :E].t(), dB, dC, d_start[..., :E].transpose(1, 2)


def selective_scan(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, *, initial_state: Tensor | None = None,
    reset: Tensor | None = None,
) -> Any:  # fmt: skip
    return run(Form(_forward, _backward, selective_scan_chunked), x, dt, A, B, C, initial_state, reset=reset)
