"""States of a matrix memory for backward: some of their columns at a time, transposed, so that lanes run over K.

A slab holds N columns of (K,V) as N rows. Its rows are cut into blocks of four vectors, then of one, and what a loop
over rows reads lies in one piece. N is such that a slab stays in the innermost cache while a whole sequence goes by.
"""

from .compile import compiled
from .lanes import full, load, reduce_add, store

ROOM = 4096  # numbers of a slab: two threads of a core share its cache


@compiled
def slab_columns(K, V):
    """How many columns a slab has: whole vectors in both precisions."""
    return min(V, max(16, ROOM // K // 16 * 16))


@compiled
def slab_index(j, i, K, N, n):
    """Where row j of a slab has its column i; n numbers are a vector."""
    block = 4 * n if i < K // (4 * n) * (4 * n) else n
    return i // block * block * N + j * block + i % block


@compiled
def accumulate(first, x, at, more):
    """x = more by the first of those that add to x, x += more by the others."""
    store(x, at, more if first else load(x, at) + more)


@compiled
def transposed(x, at, V, S, K, N):
    """S = the transpose of N columns of x (K,V), which begin at `at`."""
    n = len(load(S, 0))
    for i in range(K):
        for j in range(N):
            S[slab_index(j, i, K, N, n)] = x[at + i * V + j]


@compiled
def dot(like, x, xa, y, ya, n):
    """What n numbers of two rows have in common, in every lane."""
    both = full(like.dtype.type(0))
    for i in range(0, n, len(both)):
        both = both + load(x, xa + i) * load(y, ya + i)
    return full(reduce_add(both))


@compiled
def add_row_dots(S, x, at, V, sums, W, K, N):
    """sums (K,), or (1,), += what S and the same columns of x have in common, summed over columns."""
    n = len(load(S, 0))
    for i in range(K):
        for j in range(N):
            sums[i if W > 1 else 0] += S[slab_index(j, i, K, N, n)] * x[at + i * V + j]
