"""States of a matrix memory for backward: SLAB of their columns at a time, turned, so that lanes run over K.

A slab is (K / lanes, SLAB, lanes): what a loop over columns reads lies in one piece. Slabs of consecutive tokens stand
a little more than their size apart: at equal places in a page, loads wait for stores they have nothing to do with.
"""

from ._compile import compiled
from ._lanes import load, splat, store

SLAB = 16  # whole vectors in both precisions; with it the states of a piece stay in the second cache


@compiled
def advance(S, before, after, fades, at, k, ka, v, va, K):
    """The state after one token from the one before it: S + k v^T, faded."""
    n = len(load(k, ka))
    for i in range(0, K, n):
        fade, key = load(fades, at + i), load(k, ka + i)
        for j in range(SLAB):
            here = i * SLAB + j * n
            store(S, after + here, fade * load(S, before + here) + key * splat(v, va + j))


@compiled
def spot(j, i, n):
    """Where row j, column i of a slab of n lanes lies."""
    return i // n * n * SLAB + j * n + i % n


@compiled
def turned(x, at, V, S, K):
    """S = the transpose of SLAB columns of x (K,V), which begin at `at`."""
    n = len(load(S, 0))
    for i in range(K):
        for j in range(SLAB):
            S[spot(j, i, n)] = x[at + i * V + j]


@compiled
def turned_back(S, x, at, V, K):
    n = len(load(S, 0))
    for i in range(K):
        for j in range(SLAB):
            x[at + i * V + j] = S[spot(j, i, n)]
