"""A matrix times few vectors, read once from memory in the precision it is kept in.

    y = W x (+ b)        W (N,K) row by row, float32 or bfloat16; x, y in float32, one line a row of the batch

A tile is 16 rows of W. A row's products are summed in lanes, the lanes of 16 rows at once. Four vectors share what was
read of W, and four rows of W what was read of them. K is of whole vectors; the lines of y reach to whole tiles.

xs and ys are how far apart the lines of x and y are; `at`, xa, ya and ra: where a row of W, a line of x, of y and the
sums of a row (in `work`) begin.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from ..toolkit.compile import compiled
from ..toolkit.lanes import (
    FLAGS,
    Lanes,
    full,
    instruction,
    load,
    loaded,
    prefetch,
    prefetched,
    reduce_rows,
    store,
    stored,
)

TILE = 16
SIDE = 4
SOON = 6144  # bytes from a number to those that are asked for: left alone, every page begins with a wait


@compiled
def dot(W, at, x, xa, K, work, ra):
    """One row's products, summed in the order of a block: the next row's begin before the last ones are summed."""
    both = full(x.dtype.type(0))
    for i in range(0, K, len(both)):
        prefetch(W, at + i + SOON // W.itemsize)
        both = both + load(W, at + i) * load(x, xa + i)
    store(work, ra, both)


def _block(vectors: int) -> Any:
    """An intrinsic: SIDE rows of W with so many vectors, `apart` numbers apart: all their sums stay in registers."""

    @instruction
    def block(_, W, at, x, xa, apart, K, work, ra):
        lanes = Lanes(types.float32)

        def generate(context, builder, signature, args):
            weights, start, numbers, first, step, width, sums, into = args
            kinds = signature.args
            vector, n = context.get_value_type(lanes), ir.Constant(width.type, lanes.count)

            def lines(begin, by, count):
                return [builder.add(begin, builder.mul(by, ir.Constant(by.type, i))) for i in range(count)]

            side = ir.Constant(width.type, SIDE)
            rows, columns = lines(start, width, SIDE), lines(first, step, vectors)
            held = [[cgutils.alloca_once_value(builder, ir.Constant(vector, None)) for _ in columns] for _ in rows]
            with cgutils.for_range_slice(builder, ir.Constant(width.type, 0), width, n) as (i, _count):
                read = [loaded(context, builder, kinds[0], weights, builder.add(row, i)) for row in rows]
                for row in lines(builder.add(start, builder.mul(width, side)), width, SIDE):  # of the next block
                    prefetched(context, builder, kinds[0], weights, builder.add(row, i))
                for j, column in enumerate(columns):
                    number = loaded(context, builder, kinds[2], numbers, builder.add(column, i))
                    for r, weight in enumerate(read):
                        product = builder.fmul(weight, number, flags=FLAGS)
                        builder.store(builder.fadd(builder.load(held[r][j]), product, flags=FLAGS), held[r][j])
            for j in range(vectors):
                for r in range(SIDE):
                    at = builder.add(into, ir.Constant(into.type, (j * TILE + r) * lanes.count))
                    stored(context, builder, kinds[6], sums, at, builder.load(held[r][j]))
            return context.get_dummy_value()

        where = types.intp
        return types.void(W, where, x, where, where, where, work, where), generate

    return block


_block2, _block3, _block4 = (_block(vectors) for vectors in (2, 3, 4))


@compiled
def finish(out, bias, biased, y, ya, n0):
    """A tile's sums, with what is added."""
    store(y, ya, out + load(bias, n0) if biased else out)


@compiled
def dense(W, x, bias, biased, y, work, sizes, first, last):
    """Tiles first to last; x (B,xs), y (B,ys); `work` is that of four tiles' vectors.

    A vector's results are the same to the last bit however many come with it.
    """
    B, K, N, xs, ys = sizes
    for tile in range(first, last):
        n0 = tile * TILE
        rows, b = min(TILE, N - n0), 0
        while b < B:
            many = min(SIDE, B - b) if rows == TILE else 1
            if many == 1:
                for r in range(rows):
                    dot(W, (n0 + r) * K, x, b * xs, K, work, r * TILE)
            else:
                for r in range(0, TILE, SIDE):
                    at, ra = (n0 + r) * K, r * TILE
                    if many == 2:
                        _block2(W, at, x, b * xs, xs, K, work, ra)
                    elif many == 3:
                        _block3(W, at, x, b * xs, xs, K, work, ra)
                    else:
                        _block4(W, at, x, b * xs, xs, K, work, ra)
            for j in range(many):
                finish(reduce_rows(work, j * TILE * TILE), bias, biased, y, (b + j) * ys + n0, n0)
            b += many
