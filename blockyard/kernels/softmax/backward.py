"""The gradient of attention over whole rows: scores once more, then what each of them changes.

    P' = 2^(S' - l)   dP' = V dy'   dS' = P' (dP' - y dy)        l the logarithm of the sum of weights, from forward
    dv += P' dy       dk += dS' q   dq = dS k                    dq and dk times the scale in the end

A task is a row and a head of keys, with all heads of queries that read it, so that the gradients of keys and values are
added up in one place and in one order. It takes VECTORS vectors of queries at a time, and of the keys that any of them
sees MANY at a time where all see all of them, else FEW.
"""

from typing import NamedTuple

import numpy as np

from ..toolkit.arrays import Strided
from ..toolkit.chunks import LOG2E
from ..toolkit.compile import aligned_empty, clear, compiled, offset
from ..toolkit.lanes import full, load, reduce_add, store
from ..toolkit.machine import borrowed
from ..toolkit.tiles import Block, between, power, product, turn
from .tiles import Limits, columns, limits_of, rows_of

VECTORS = 4  # of queries
MANY, FEW = 48, 16  # keys


class Known(NamedTuple):
    """y and its gradient (B,T,H,V), and the logarithms of the sums of weights (B,H,T)."""

    y: Strided
    dy: Strided
    sums: np.ndarray


class Grads(NamedTuple):
    """dq (B,T,H,D), dk (B,S,G,D), dv (B,S,G,V)."""

    q: Strided
    k: Strided
    v: Strided


class Keys(NamedTuple):
    """A task's keys (S,D), values (S,V) and their gradients."""

    k: np.ndarray
    v: np.ndarray
    dk: np.ndarray
    dv: np.ndarray


class Room(NamedTuple):
    """Some queries (N,D), the gradients of their results (N,V), both turned, and their own gradients (N,D); weights and
    gradients of scores (MANY,N); of each query what it sees, the logarithm of its sum, and y dy."""

    q: np.ndarray
    dy: np.ndarray
    q_turned: np.ndarray
    dy_turned: np.ndarray
    dq: np.ndarray
    weights: np.ndarray
    scores: np.ndarray
    begin: np.ndarray
    end: np.ndarray
    about: np.ndarray


class Tile(NamedTuple):
    """`rows` keys from s on, by the queries from place `left` to `right`; whether some of the pairs are hidden."""

    s: int
    rows: int
    left: int
    right: int
    edge: bool


@compiled
def take_queries(given, known, room, sizes, at, factor):
    """A block of queries and what is known of them; zeros behind the last one."""
    b, t, h = at
    n, D, V = len(load(room.begin, 0)), sizes.D, sizes.V
    N, one = VECTORS * n, room.about.dtype.type(1)
    count = min(N, sizes.T - t)
    rows_of(given.q, b, t, h, count, D, room.q, N)
    rows_of(known.dy, b, t, h, count, V, room.dy, N)
    for i in range(0, N, n):
        for d in range(0, D, n):
            turn(Block(room.q, i * D + d, D, 1), Block(room.q_turned, d * N + i, N, 1), factor)
        for d in range(0, V, n):
            turn(Block(room.dy, i * V + d, V, 1), Block(room.dy_turned, d * N + i, N, 1), one)
    clear(room.about, 0, 2 * N)
    clear(room.dq, 0, N * D)
    for i in range(count):
        room.about[i] = known.sums[(b * sizes.H + h) * sizes.T + t + i]
        both, y = full(one - one), offset(known.y, b, t + i, h)
        for d in range(0, V, n):
            both = both + load(room.dy, i * V + d) * load(known.y.data, y + d)
        room.about[N + i] = reduce_add(both)
    return count


@compiled
def differentiate(room, tile, i, n):
    """The products of a vector of queries with keys and values become weights and gradients of scores."""
    N, zero = VECTORS * n, full(room.about.dtype.type(0))
    total, common = load(room.about, i), load(room.about, N + i)
    since, until = load(room.begin, i), load(room.end, i)
    if tile.edge:
        never = full(room.about.dtype.type(-np.inf))
        for r in range(tile.rows):
            at = r * N + i
            p = power(between(load(room.scores, at) - total, since, until, tile.s + r, never))
            change = between(load(room.weights, at) - common, since, until, tile.s + r, zero)
            store(room.weights, at, p)
            store(room.scores, at, p * change)
    else:
        for r in range(tile.rows):
            at = r * N + i
            p = power(load(room.scores, at) - total)
            store(room.scores, at, p * (load(room.weights, at) - common))
            store(room.weights, at, p)


@compiled
def add_tile(keys, room, sizes, tile, n):
    """What the pairs of a tile add to the gradients of its keys, values and queries."""
    s, rows, left, N, D, V = tile.s, tile.rows, tile.left, VECTORS * n, sizes.D, sizes.V
    count = tile.right - left
    for i in range(left, tile.right, n):
        product(Block(keys.k, s * D, D, 1), columns(room.q_turned, i, N), columns(room.scores, i, N), rows, D, False)
        product(Block(keys.v, s * V, V, 1), columns(room.dy_turned, i, N), columns(room.weights, i, N), rows, V, False)
        differentiate(room, tile, i, n)
    for d in range(0, V, n):
        into = columns(keys.dv, s * V + d, V)
        product(Block(room.weights, left, N, 1), columns(room.dy, left * V + d, V), into, rows, count, True)
    for d in range(0, D, n):
        into = columns(keys.dk, s * D + d, D)
        product(Block(room.scores, left, N, 1), columns(room.q, left * D + d, D), into, rows, count, True)
    for d in range(0, D, n):
        into = columns(room.dq, left * D + d, D)
        product(Block(room.scores, left, 1, N), columns(keys.k, s * D + d, D), into, count, rows, True)


@compiled
def touching(limits, s, rows, n):
    """The queries, whole vectors of them, of which some see some of the keys s to s + rows."""
    left, right = VECTORS * n, 0
    for j in range(VECTORS):
        if limits[j].low < s + rows and s < limits[j].high:
            left, right = min(left, j * n), j * n + n
    return left, right


@compiled
def add_block(keys, room, sizes, limits, n):
    """What a block of queries adds, one tile of keys after the other."""
    low = min(limits[0].low, limits[1].low, limits[2].low, limits[3].low) // FEW * FEW
    high = max(limits[0].high, limits[1].high, limits[2].high, limits[3].high)
    first = max(limits[0].first, limits[1].first, limits[2].first, limits[3].first)
    last = min(limits[0].last, limits[1].last, limits[2].last, limits[3].last)
    s = low
    while s < high:
        rows = MANY if first <= s and s + MANY <= last else FEW
        left, right = touching(limits, s, rows, n)
        if left < right:
            add_tile(keys, room, sizes, Tile(s, rows, left, right, s < first or s + rows > last), n)
        s += rows


@compiled
def give(x, at, apart, count, width, factor, into, to):
    """So many rows times a factor, put where a tensor has them."""
    scale = full(factor)
    for i in range(count):
        for d in range(0, width, len(scale)):
            store(into, to + i * apart + d, load(x, at + i * width + d) * scale)


@compiled
def tasks(given, known, grads, spans, sizes, scale, keys, room, first, last):
    """The heads of keys first to last."""
    given, known, grads, spans, keys, room = borrowed((given, known, grads, spans, keys, room))
    T, S, G, D, V, R = sizes.T, sizes.S, sizes.G, sizes.D, sizes.V, sizes.H // sizes.G
    n, most, kind = len(load(room.about, 0)), (S + FEW - 1) // FEW * FEW, room.about.dtype.type
    for task in range(first, last):
        b, g = task // G, task % G
        rows_of(given.k, b, 0, g, S, D, keys.k, most)
        rows_of(given.v, b, 0, g, S, V, keys.v, most)
        clear(keys.dk, 0, most * D)
        clear(keys.dv, 0, most * V)
        for h in range(g * R, g * R + R):
            for t in range(0, T, VECTORS * n):
                count = take_queries(given, known, room, sizes, (b, t, h), kind(scale * LOG2E))
                limits = (
                    limits_of(spans, sizes, b, t, room.begin, room.end, 0, n),
                    limits_of(spans, sizes, b, t + n, room.begin, room.end, n, n),
                    limits_of(spans, sizes, b, t + 2 * n, room.begin, room.end, 2 * n, n),
                    limits_of(spans, sizes, b, t + 3 * n, room.begin, room.end, 3 * n, n),
                )
                add_block(keys, room, sizes, limits, n)
                give(room.dq, 0, grads.q.strides[1], count, D, kind(scale), grads.q.data, offset(grads.q, b, t, h))
        give(keys.dk, 0, grads.k.strides[1], S, D, kind(scale), grads.k.data, offset(grads.k, b, 0, g))
        give(keys.dv, 0, grads.v.strides[1], S, V, kind(1), grads.v.data, offset(grads.v, b, 0, g))


@compiled
def backward(given, known, grads, spans, sizes, scale, first, last):
    """Everything that `grads` has room for."""
    like, D, V = known.sums, sizes.D, sizes.V
    n, most = len(load(like, 0)), (sizes.S + FEW - 1) // FEW * FEW
    N = VECTORS * n
    keys = Keys(
        aligned_empty(most * D, like), aligned_empty(most * V, like),
        aligned_empty(most * D, like), aligned_empty(most * V, like),
    )  # fmt: skip
    room = Room(
        aligned_empty(N * D, like), aligned_empty(N * V, like), aligned_empty(N * D, like), aligned_empty(N * V, like),
        aligned_empty(N * D, like), aligned_empty(MANY * N, like), aligned_empty(MANY * N, like),
        aligned_empty(N, like), aligned_empty(N, like), aligned_empty(2 * N, like),
    )  # fmt: skip
    tasks(given, known, grads, spans, sizes, scale, keys, room, first, last)
