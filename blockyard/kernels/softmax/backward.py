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
from ..toolkit.machine import borrowed, held
from ..toolkit.tiles import Block, Sums, between, lanes, power, product, turn
from .tiles import At, limits_of, rows_of

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
    gradients of scores (MANY,N); of each query what it sees, the logarithm of its sum, and y dy; of each
    vector of queries the first key that any sees, and the end."""

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
    low: np.ndarray
    high: np.ndarray


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
    n, D, V = lanes(room.begin), sizes.D, sizes.V
    N, one = VECTORS * n, room.about.dtype.type(1)
    count = min(N, sizes.T - at.t)
    rows_of(given.q, at, count, D, room.q, N)
    rows_of(known.dy, at, count, V, room.dy, N)
    for i in range(0, N, n):
        for d in range(0, D, n):
            turn(Block(room.q, i * D + d, D, 1), Block(room.q_turned, d * N + i, N, 1), factor)
        for d in range(0, V, n):
            turn(Block(room.dy, i * V + d, V, 1), Block(room.dy_turned, d * N + i, N, 1), one)
    clear(room.about, 0, 2 * N)
    clear(room.dq, 0, N * D)
    for i in range(count):
        room.about[i] = known.sums[(at.b * sizes.H + at.h) * sizes.T + at.t + i]
        both, y = full(one - one), offset(known.y, at.b, at.t + i, at.h)
        for d in range(0, V, n):
            both = both + load(room.dy, i * V + d) * load(known.y.data, y + d)
        room.about[N + i] = reduce_add(both)
    return count


@compiled
def differentiate(room, tile, i):
    """The products of a vector of queries with keys and values become weights and gradients of scores."""
    N, zero = VECTORS * lanes(room.about), full(room.about.dtype.type(0))
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
def add_tile(keys, room, sizes, tile):
    """What the pairs of a tile add to the gradients of its keys, values and queries."""
    s, rows, left, count, D, V = tile.s, tile.rows, tile.left, tile.right - tile.left, sizes.D, sizes.V
    n = lanes(room.about)
    N = VECTORS * n
    for i in range(left, tile.right, n):
        product(Block(keys.k, s * D, D, 1), Block(room.q_turned, i, N, 1), Sums(room.scores, i, N, False), rows, D)
        product(Block(keys.v, s * V, V, 1), Block(room.dy_turned, i, N, 1), Sums(room.weights, i, N, False), rows, V)
        differentiate(room, tile, i)
    for d in range(0, V, n):
        into = Sums(keys.dv, s * V + d, V, True)
        product(Block(room.weights, left, N, 1), Block(room.dy, left * V + d, V, 1), into, rows, count)
    for d in range(0, D, n):
        into = Sums(keys.dk, s * D + d, D, True)
        product(Block(room.scores, left, N, 1), Block(room.q, left * D + d, D, 1), into, rows, count)
    for d in range(0, D, n):
        into = Sums(room.dq, left * D + d, D, True)
        product(Block(room.scores, left, 1, N), Block(keys.k, s * D + d, D, 1), into, count, rows)


@compiled
def touching(room, s, rows):
    """The queries, whole vectors of them, of which some see some of the keys s to s + rows."""
    n = lanes(room.about)
    left, right = VECTORS * n, 0
    for j in range(VECTORS):
        if room.low[j] < s + rows and s < room.high[j]:
            left, right = min(left, j * n), j * n + n
    return left, right


@compiled
def add_block(keys, room, spans, sizes, b, t):
    """What a block of queries from t on adds, one tile of keys after the other."""
    n = lanes(room.about)
    s, high, first, last = sizes.S, 0, 0, sizes.S
    for j in range(VECTORS):
        limits = limits_of(spans, sizes, b, t + j * n, room.begin, room.end, j * n)
        room.low[j], room.high[j] = limits.low, limits.high
        s, high = min(s, limits.low), max(high, limits.high)
        first, last = max(first, limits.first), min(last, limits.last)
    s = s // FEW * FEW
    while s < high:
        rows = MANY if first <= s and s + MANY <= last else FEW
        left, right = touching(room, s, rows)
        if left < right:
            add_tile(keys, room, sizes, Tile(s, rows, left, right, s < first or s + rows > last))
        s += rows


@compiled
def give(x, count, width, factor, into, at):
    """So many rows times a factor, put where a tensor has them."""
    scale, to = full(factor), offset(into, at.b, at.t, at.h)
    for i in range(count):
        for d in range(0, width, len(scale)):
            store(into.data, to + i * into.strides[1] + d, load(x, i * width + d) * scale)


@compiled
def keys_for(sizes, most, like):
    D, V = most * sizes.D, most * sizes.V
    return Keys(aligned_empty(D, like), aligned_empty(V, like), aligned_empty(D, like), aligned_empty(V, like))


@compiled
def room_for(sizes, like):
    N = VECTORS * lanes(like)
    D, V = N * sizes.D, N * sizes.V
    return Room(
        aligned_empty(D, like), aligned_empty(V, like), aligned_empty(D, like), aligned_empty(V, like),
        aligned_empty(D, like), aligned_empty(MANY * N, like), aligned_empty(MANY * N, like),
        aligned_empty(N, like), aligned_empty(N, like), aligned_empty(2 * N, like),
        np.empty(VECTORS, np.int64), np.empty(VECTORS, np.int64),
    )  # fmt: skip


@compiled
def backward(given, known, grads, spans, sizes, scale, first, last):
    """Everything that `grads` has room for, of the heads of keys first to last."""
    S, G, D, V, R = sizes.S, sizes.G, sizes.D, sizes.V, sizes.H // sizes.G
    most, number = (S + FEW - 1) // FEW * FEW, known.sums.dtype.type
    all_keys, kept = keys_for(sizes, most, known.sums), room_for(sizes, known.sums)
    given, known, grads, spans, keys, room = borrowed((given, known, grads, spans, all_keys, kept))
    for task in range(first, last):
        b, g = task // G, task % G
        here = At(b, 0, g)
        rows_of(given.k, here, S, D, keys.k, most)
        rows_of(given.v, here, S, V, keys.v, most)
        clear(keys.dk, 0, most * D)
        clear(keys.dv, 0, most * V)
        for h in range(g * R, g * R + R):
            for t in range(0, sizes.T, VECTORS * lanes(room.about)):
                at = At(b, t, h)
                count = take_queries(given, known, room, sizes, at, number(scale * LOG2E))
                add_block(keys, room, spans, sizes, b, t)
                give(room.dq, count, D, number(scale), grads.q, at)
        give(keys.dk, S, D, number(scale), grads.k, here)
        give(keys.dv, S, V, number(1), grads.v, here)
    held((all_keys, kept))
