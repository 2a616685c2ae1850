"""How the loops are compiled, and how they find their numbers.

Arrays are flat and contiguous; a tensor (B,T,H,D) comes as `Strided`: one of them with its strides (b, t, h), so that
views of a projection are read where they lie. Strided of matrix memories are whole vectors. Inside a loop over tokens a
view of an array costs more than the vectors it is of (it is counted, by atomic operations): loops pass arrays and
offsets. What belongs together comes as one named tuple, and what came from outside is `borrowed`: neither costs
anything then. Loops release the interpreter and take the range of tasks that they do, first to last. Literals in Python
are double: constants are cast to the element's type, or float32 loops would run in float64.
"""

from typing import Any

import numpy as np
from numba import njit

from .kept import keep
from .lanes import PAD, full, load, prefetch, store

# sums may be reordered (or no reduction vectorises) and signed zeros dropped; nan and infinity keep their meaning
FAST = {"reassoc", "contract", "nsz", "arcp"}


def compiled(function: Any, inline: bool = False) -> Any:
    """The loop, compiled at its first call and kept on disk; not kept where nothing can be written."""
    how: dict[str, Any] = {"nogil": True, "fastmath": FAST, "error_model": "numpy", "forceinline": inline}
    return keep(njit(**how)(function))


def inlined(function: Any) -> Any:
    """What is so small that passing its arguments would cost more."""
    return compiled(function, inline=True)


@compiled
def aligned_zeros(n, like):
    """n zeros from a cache line on: a vector that lies across two lines is read twice."""
    room = np.zeros(n + PAD, like.dtype)
    skip = -room.ctypes.data % 64 // like.itemsize
    return room[skip : skip + n]


@compiled
def aligned_empty(n, like):
    """Room for n numbers, from a cache line on."""
    room = np.empty(n + PAD, like.dtype)
    skip = -room.ctypes.data % 64 // like.itemsize
    return room[skip : skip + n]


@compiled
def offset(rows, b, t, h):
    """Where the row of token t, head h begins."""
    return b * rows.strides[0] + t * rows.strides[1] + h * rows.strides[2]


@compiled
def token_offset(rows, b, t):
    """Where the row of token t begins, of a tensor (B,T,D)."""
    return b * rows.strides[0] + t * rows.strides[1]


@compiled
def copy(x, at, into, to, n):
    """n numbers, whole vectors."""
    for i in range(0, n, len(load(x, 0))):
        store(into, to + i, load(x, at + i))


PREFETCH = 8  # tokens


@compiled
def prefetch_row(x, at, n):
    """Ask for a row that will be needed soon: rows of one head lie apart, which no machine sees coming by itself."""
    for i in range(0, n, 64 // x.itemsize):
        prefetch(x, at + i)


@compiled
def clear(x, at, n):
    zero = full(x.dtype.type(0))
    for i in range(0, n, len(zero)):
        store(x, at + i, zero)
