"""Attention over whole rows: one vector of queries after another, with all scores of it at hand.

    S' = K Q'   P' = 2^(S' - m)   y = P V / sum P        m the largest score of each query, all in powers of two

A task is a row and a head of keys, with all heads of queries that read it. Its keys are copied row after row, its
values column after column, a vector wide: a product goes through either without a gap.
"""

from typing import NamedTuple

import numpy as np

from ..toolkit.chunks import LOG2E
from ..toolkit.compile import aligned_empty, compiled, offset
from ..toolkit.lanes import full, load, maximum, store
from ..toolkit.machine import borrowed, held
from ..toolkit.tiles import Block, Sums, between, lanes, power, product, turn
from .tiles import HIDDEN, At, limits_of, panels_of, rows_of

NEAR = 128  # keys whose weights and values are in the innermost cache together


class Room(NamedTuple):
    """Keys (S,D), values (V/n,S,n), n queries (n,D) and turned (D,n), scores (S,n), sums (n,V); of each query what it
    sees, its largest score and the sum of its weights."""

    k: np.ndarray
    v: np.ndarray
    q: np.ndarray
    turned: np.ndarray
    scores: np.ndarray
    y: np.ndarray
    begin: np.ndarray
    end: np.ndarray
    top: np.ndarray
    total: np.ndarray


@compiled
def hide(room, low, first, last):
    """Minus infinity for what some of the queries do not see, scores of the keys `first` to `last`."""
    n, never = lanes(room.begin), full(room.begin.dtype.type(-np.inf))
    since, until = load(room.begin, 0), load(room.end, 0)
    for s in range(first, last):
        at = (s - low) * n
        store(room.scores, at, between(load(room.scores, at), since, until, s, never))


@compiled
def weigh(room, count):
    """Scores of so many keys become weights, their largest and the sum of the weights are left beside."""
    scores, n = room.scores, lanes(room.scores)
    m0 = m1 = m2 = m3 = full(scores.dtype.type(HIDDEN))
    for at in range(0, count * n, 4 * n):
        m0, m1 = maximum(load(scores, at), m0), maximum(load(scores, at + n), m1)
        m2, m3 = maximum(load(scores, at + 2 * n), m2), maximum(load(scores, at + 3 * n), m3)
    top = maximum(maximum(m0, m1), maximum(m2, m3))
    a0 = a1 = a2 = a3 = full(scores.dtype.type(0))
    for at in range(0, count * n, 4 * n):
        p0, p1 = power(load(scores, at) - top), power(load(scores, at + n) - top)
        p2, p3 = power(load(scores, at + 2 * n) - top), power(load(scores, at + 3 * n) - top)
        store(scores, at, p0)
        store(scores, at + n, p1)
        store(scores, at + 2 * n, p2)
        store(scores, at + 3 * n, p3)
        a0, a1, a2, a3 = a0 + p0, a1 + p1, a2 + p2, a3 + p3
    store(room.top, 0, top)
    store(room.total, 0, (a0 + a1) + (a2 + a3))


@compiled
def attend_vector(room, limits, sizes, most):
    """The sums (n,V) of a vector of queries, not yet divided; `most` keys fit."""
    n, low, count = lanes(room.q), limits.low, limits.high - limits.low
    keys = Block(room.k, low * sizes.D, sizes.D, 1)
    product(keys, Block(room.turned, 0, n, 1), Sums(room.scores, 0, n, False), count, sizes.D)
    edge = min(max(limits.first, low), limits.high)
    hide(room, low, low, edge)
    hide(room, low, min(max(limits.last, edge), limits.high), limits.high)
    weigh(room, count)
    for s in range(0, count, NEAR):
        weights = Block(room.scores, s * n, 1, n)
        for i in range(0, sizes.V, n):
            values = Block(room.v, i * most + (low + s) * n, n, 1)
            product(weights, values, Sums(room.y, i, sizes.V, s > 0), n, min(NEAR, count - s))


@compiled
def finish_query(room, i, V, y, to):
    """A query's sums divided by that of its weights, 0 where it sees nothing; gives the logarithm of the latter."""
    total, one, n = room.total[i], room.total.dtype.type(1), lanes(room.total)
    if total == 0:
        for d in range(0, V, n):
            store(y, to + d, full(total))
        return -room.total.dtype.type(HIDDEN)  # in backward its weights come out as 0 again
    back = full(one / total)
    for d in range(0, V, n):
        store(y, to + d, load(room.y, i * V + d) * back)
    return room.top[i] + np.log2(total)


@compiled
def room_for(sizes, most, like):
    n, D, V = lanes(like), sizes.D, sizes.V
    return Room(
        aligned_empty(most * D, like), aligned_empty(most * V, like), aligned_empty(n * D, like),
        aligned_empty(n * D, like), aligned_empty(most * n, like), aligned_empty(n * V, like),
        aligned_empty(n, like), aligned_empty(n, like), aligned_empty(n, like), aligned_empty(n, like),
    )  # fmt: skip


@compiled
def forward(given, y, sums, spans, sizes, scale, first, last):
    """y (B,T,H,V); sums (B,H,T): the logarithms of the sums of weights, in powers of two."""
    T, S, G, D, R = sizes.T, sizes.S, sizes.G, sizes.D, sizes.H // sizes.G
    n, most, factor = lanes(sums), (S + 3) // 4 * 4, sums.dtype.type(scale * LOG2E)
    kept = room_for(sizes, most, sums)
    given, y, spans, room = borrowed((given, y, spans, kept))
    for task in range(first, last):
        b, g = task // G, task % G
        rows_of(given.k, At(b, 0, g), S, D, room.k, most)
        panels_of(given.v, b, g, S, sizes.V, room.v, most)
        for h in range(g * R, g * R + R):
            for t in range(0, T, n):
                count = min(n, T - t)
                rows_of(given.q, At(b, t, h), count, D, room.q, n)
                for d in range(0, D, n):
                    turn(Block(room.q, d, D, 1), Block(room.turned, d * n, n, 1), factor)
                attend_vector(room, limits_of(spans, sizes, b, t, room.begin, room.end, 0), sizes, most)
                for i in range(count):
                    place = offset(y, b, t + i, h)
                    sums[(b * sizes.H + h) * T + t + i] = finish_query(room, i, sizes.V, y.data, place)
    held(kept)
