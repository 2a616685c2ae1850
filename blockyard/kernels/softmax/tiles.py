"""What the loops of attention over whole rows share: their arrays, and which keys a vector of queries sees.

Scores are kept turned, keys by queries: a vector is one key's scores of as many queries as it has lanes, so a softmax
goes down the keys lane by lane, and no sum goes over lanes. Queries that are neighbours share what of the keys they do
not see: outside of `low` to `high` nothing is computed, between `first` and `last` nothing is hidden.

T queries, S keys, H heads of queries, G heads of keys, width D of keys and V of values, both whole vectors. n is the
length of a vector; b, t, s, h, g a row, a query, a key, a head of queries and one of keys. `like` is any array of the
precision in which sums are taken.
"""

from typing import NamedTuple

from ..toolkit.arrays import Strided
from ..toolkit.compile import compiled, offset
from ..toolkit.lanes import full, load, store
from ..toolkit.tiles import lanes

HIDDEN = -1e30  # the largest score of a query that sees nothing: what is hidden, minus infinity, is far below


class Given(NamedTuple):
    """q (B,T,H,D), k (B,S,G,D), v (B,S,G,V)."""

    q: Strided
    k: Strided
    v: Strided


class Sizes(NamedTuple):
    """How many of what; whether query t sees the first S-T+t+1 keys only, of these the last `window` (0: all)."""

    T: int
    S: int
    H: int
    G: int
    D: int
    V: int
    causal: bool
    window: int


class At(NamedTuple):
    """A row, a query or a key, a head."""

    b: int
    t: int
    h: int


class Limits(NamedTuple):
    """The keys of some queries: seen by any from `low` to `high`, by all from `first` to `last`."""

    low: int
    high: int
    first: int
    last: int


@compiled
def keys_of(spans, sizes, b, t):
    """From which key on query t sees, and before which; (0, 0): none. `spans` (B,T,2), or of size 0."""
    since, until = 0, sizes.S
    if sizes.causal:
        until = sizes.S - sizes.T + t + 1
        if sizes.window > 0:
            since = max(0, until - sizes.window)
    if spans.size:
        at = 2 * (b * sizes.T + t)
        since, until = max(since, spans[at]), min(until, spans[at + 1])
    return (since, until) if since < until else (0, 0)


@compiled
def limits_of(spans, sizes, b, t, begin, end, at):
    """The limits of a vector of queries from t on, each one's own in `begin` and `end`; behind the last one as its."""
    low, high, first, last = sizes.S, 0, 0, sizes.S
    for i in range(lanes(begin)):
        since, until = keys_of(spans, sizes, b, min(t + i, sizes.T - 1))
        begin[at + i], end[at + i] = since, until
        first, last = max(first, since), min(last, until)
        if since < until:
            low, high = min(low, since), max(high, until)
    return Limits(min(low, high) // 4 * 4, (high + 3) // 4 * 4, first, last)


@compiled
def rows_of(x, first, count, width, into, most):
    """A head's rows, so many from the first one on, in one piece, each `width` wide; zeros up to `most` rows."""
    n = lanes(into)
    for i in range(count):
        at = offset(x, first.b, first.t + i, first.h)
        for d in range(0, width, n):
            store(into, i * width + d, load(x.data, at + d))
    zero = full(into.dtype.type(0))
    for i in range(count * width, most * width, n):
        store(into, i, zero)


@compiled
def panels_of(x, b, g, count, width, into, most):
    """A head's rows cut into columns of one vector, each column in one piece; zeros up to `most` rows."""
    n = lanes(into)
    zero = full(into.dtype.type(0))
    for s in range(most):
        at = offset(x, b, s, g) if s < count else 0
        for d in range(0, width, n):
            store(into, d * most + s * n, load(x.data, at + d) if s < count else zero)
