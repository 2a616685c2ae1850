"""A matrix times few vectors, read once from memory in the precision it is kept in.

    y = W x (+ b) (+ r)        W (N,K) row by row, float32 or bfloat16; x, y, r in float32, one line a row of the batch

A tile is 16 rows of W. A row's products are summed in lanes, the lanes of 16 rows at once. Four vectors share what was
read of W, and four rows of W what was read of them. K is of whole vectors; the lines of y and r reach to whole tiles.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils

from ._compile import compiled
from ._lanes import FLAGS, Lanes, full, instruction, load, loaded, store, stored, sums

TILE = 16
SIDE = 4


@compiled
def dot(W, at, x, xa, K, room, ra):
    n = len(load(x, xa))
    a0 = a1 = a2 = a3 = full(x.dtype.type(0))
    i = 0
    while i + 4 * n <= K:
        a0 = a0 + load(W, at + i) * load(x, xa + i)
        a1 = a1 + load(W, at + i + n) * load(x, xa + i + n)
        a2 = a2 + load(W, at + i + 2 * n) * load(x, xa + i + 2 * n)
        a3 = a3 + load(W, at + i + 3 * n) * load(x, xa + i + 3 * n)
        i += 4 * n
    while i < K:
        a0 = a0 + load(W, at + i) * load(x, xa + i)
        i += n
    store(room, ra, (a0 + a1) + (a2 + a3))


@instruction
def block(_, W, at, x, xa, apart, K, room, ra):
    """SIDE rows of W with SIDE vectors, `apart` numbers apart: all their sums stay in registers."""
    lanes = Lanes(types.float32)

    def generate(context, builder, signature, args):
        rows, start, vectors, first, step, width, sums, into = args
        kinds = signature.args
        vector, n = context.get_value_type(lanes), ir.Constant(width.type, lanes.count)
        held = [
            [cgutils.alloca_once_value(builder, ir.Constant(vector, None)) for _ in range(SIDE)] for _ in range(SIDE)
        ]

        def times(i, by):
            return builder.mul(by, ir.Constant(by.type, i))

        with cgutils.for_range_slice(builder, ir.Constant(width.type, 0), width, n) as (i, _count):
            read = [builder.add(builder.add(start, times(r, width)), i) for r in range(SIDE)]
            weights = [loaded(context, builder, kinds[0], rows, place) for place in read]
            for j in range(SIDE):
                place = builder.add(builder.add(first, times(j, step)), i)
                number = loaded(context, builder, kinds[2], vectors, place)
                for r in range(SIDE):
                    product = builder.fmul(weights[r], number, flags=FLAGS)
                    builder.store(builder.fadd(builder.load(held[r][j]), product, flags=FLAGS), held[r][j])
        for j in range(SIDE):
            for r in range(SIDE):
                place = builder.add(into, ir.Constant(into.type, (j * TILE + r) * lanes.count))
                stored(context, builder, kinds[6], sums, place, builder.load(held[r][j]))
        return context.get_dummy_value()

    whole = (types.intp, x, types.intp, types.intp, types.intp, room, types.intp)
    return types.void(W, *whole), generate


@compiled
def finish(out, bias, biased, add, added, y, ya, n0):
    """What is added to a tile's sums."""
    if biased:
        out = out + load(bias, n0)
    if added:
        out = out + load(add, ya)
    store(y, ya, out)


@compiled
def dense(W, x, bias, biased, add, added, y, room, sizes, first, last):
    """Tiles first to last; x (B,xs), y and add (B,ys); `room` is that of four tiles' vectors."""
    B, K, N, xs, ys = sizes
    for tile in range(first, last):
        n0, b = tile * TILE, 0
        rows = min(TILE, N - n0)
        while rows == TILE and b + SIDE <= B:
            for r in range(0, TILE, SIDE):
                block(W, (n0 + r) * K, x, b * xs, xs, K, room, r * TILE)
            for j in range(SIDE):
                finish(sums(room, j * TILE * TILE), bias, biased, add, added, y, (b + j) * ys + n0, n0)
            b += SIDE
        while b < B:
            for r in range(rows):
                dot(W, (n0 + r) * K, x, b * xs, K, room, r * TILE)
            finish(sums(room, 0), bias, biased, add, added, y, b * ys + n0, n0)
            b += 1
