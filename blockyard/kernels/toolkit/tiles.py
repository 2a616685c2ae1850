"""Products of small matrices whose sums stay in registers, and what else matrices of scores need.

    product(A, B, C, rows, length, add)     C (rows, one vector) = or += A (rows, length) B (length, one vector)
    turn(x, y, factor)                      y = factor x^T, a square of as many numbers a side as a vector has
    power(x)                                2^x lane by lane for x up to about 0, exactly 0 far below
    between(x, since, until, s, other)      x in the lanes for which since <= s < until, the other number elsewhere

A `Block` is a matrix in a flat array: where it begins, how far its rows lie apart, and its columns. Rows and lengths are
multiples of four. A vector of B and the sums of TALL or FOUR rows are all that a machine has registers for: two times
six sums of half a vector where those are 32 bytes wide, twelve where they are 64.
"""

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from .compile import compiled, inlined
from .lanes import FLAGS, POWERS, Lanes, _pointer, _spread, _vector, instruction, loaded, stored
from .machine import has

WIDE = has("avx512f")
FOUR, FIVE, SIX, TWELVE, SIXTEEN = ((0,) * rows for rows in (4, 5, 6, 12, 16))  # their lengths are compiled in
UNROLL = 4


class Block(NamedTuple):
    """A matrix in a flat array."""

    data: np.ndarray
    at: int
    row: int
    step: int


def _parts(builder: Any, block: Any) -> Any:
    return [builder.extract_value(block, i) for i in range(4)]


def _at(context: Any, builder: Any, kind: Any, block: Any, row: Any, step: Any) -> Any:
    """Where a matrix has its number of a row and a column."""
    data, at, rows, steps = block
    place = builder.add(at, builder.add(builder.mul(rows, row), builder.mul(steps, step)))
    return _pointer(context, builder, kind.types[0], data, place)


@instruction
def _tile(_, shape, A, B, C, length, add):
    """C = or += A B for as many rows as the shape is long."""
    kind = Lanes(C.types[0].dtype)

    def generate(context, builder, signature, args):
        a, b, c = (_parts(builder, block) for block in args[1:4])
        length, add = args[4:]
        vector, whole, one = _vector(context, kind), length.type, kind.dtype.bitwidth // 8
        number = lambda i: ir.Constant(whole, i)  # noqa: E731
        sums = [cgutils.alloca_once(builder, vector) for _ in range(shape.count)]
        places = [
            builder.bitcast(_at(context, builder, C, c, number(r), number(0)), vector.as_pointer())
            for r in range(shape.count)
        ]
        for held, place in zip(sums, places):
            builder.store(ir.Constant(vector, None), held)
        with builder.if_then(add):
            for held, place in zip(sums, places):
                builder.store(builder.load(place, align=one), held)
        with cgutils.for_range_slice(builder, number(0), length, number(UNROLL)) as (first, _count):
            for more in range(UNROLL):
                k = builder.add(first, number(more))
                row = builder.bitcast(_at(context, builder, B, b, k, number(0)), vector.as_pointer())
                row = builder.load(row, align=one)
                for r, held in enumerate(sums):
                    x = _spread(builder, builder.load(_at(context, builder, A, a, number(r), k)), vector)
                    term = builder.fmul(x, row, flags=FLAGS)
                    builder.store(builder.fadd(builder.load(held), term, flags=FLAGS), held)
        for held, place in zip(sums, places):
            builder.store(builder.load(held), place, align=one)
        return context.get_dummy_value()

    return types.void(shape, A, B, C, length, add), generate


@inlined
def _rows(shape, A, B, C, r, length, add):
    """As many rows of C as the shape is long, from row r on."""
    a, c = Block(A.data, A.at + r * A.row, A.row, A.step), Block(C.data, C.at + r * C.row, C.row, 1)
    _tile(shape, a, B, c, length, add)


@compiled
def product(A, B, C, rows, length, add):
    """C (rows, one vector) = or += A (rows, length) B (length, one vector)."""
    r = 0
    while rows - r >= 12 and rows - r != 16:
        if WIDE:
            _rows(TWELVE, A, B, C, r, length, add)
        else:
            _rows(SIX, A, B, C, r, length, add)
            _rows(SIX, A, B, C, r + 6, length, add)
        r += 12
    if rows - r == 16:
        if WIDE:
            _rows(SIXTEEN, A, B, C, r, length, add)
        else:
            _rows(SIX, A, B, C, r, length, add)
            _rows(FIVE, A, B, C, r + 6, length, add)
            _rows(FIVE, A, B, C, r + 11, length, add)
        r = rows
    while r < rows:
        _rows(FOUR, A, B, C, r, length, add)
        r += 4


@instruction
def turn(_, x, y, factor):
    """y = factor x^T, both squares of as many numbers a side as a vector has, their columns side by side."""
    kind = Lanes(y.types[0].dtype)

    def generate(context, builder, signature, args):
        (source, at, apart, _), (into, to, beside, _) = (_parts(builder, block) for block in args[:2])
        n, scale, whole = kind.count, _spread(builder, args[2], _vector(context, kind)), at.type
        place = lambda start, step, r: builder.add(start, builder.mul(step, ir.Constant(whole, r)))  # noqa: E731
        rows = [loaded(context, builder, x.types[0], source, place(at, apart, r)) for r in range(n)]
        half, masks = n // 2, ir.VectorType(ir.IntType(32), n)
        both = [
            ir.Constant(masks, [i // 2 + shift + (n if i % 2 else 0) for i in range(n)]) for shift in (0, half)
        ]
        for _ in range(n.bit_length() - 1):  # rows interleaved with those half a square below
            pairs = zip(rows[:half], rows[half:])
            rows = [builder.shuffle_vector(a, b, mask) for a, b in pairs for mask in both]
        for r, row in enumerate(rows):
            found = builder.fmul(row, scale, flags=FLAGS)
            stored(context, builder, y.types[0], into, place(to, beside, r), found)
        return context.get_dummy_value()

    return types.void(x, y, factor), generate


@instruction
def power(_, x):
    """2^x lane by lane for x up to about 0; exactly 0 far below."""

    def single(context, builder, signature, args):
        here, whole = _vector(context, x), ir.VectorType(ir.IntType(32), x.count)
        number, integer = (lambda c: ir.Constant(here, [c] * x.count)), (lambda c: ir.Constant(whole, [c] * x.count))
        z, low = args[0], number(-127.0)  # 2^-127 comes out as 0
        z = builder.select(builder.fcmp_ordered("<", z, low), low, z)
        up = builder.fptosi(builder.fadd(z, number(127.5)), whole)
        f = builder.fsub(z, builder.sitofp(builder.sub(up, integer(127)), here))
        found = number(np.float32(POWERS[0]))
        for c in POWERS[1:]:
            found = builder.fadd(builder.fmul(found, f, flags=FLAGS), number(np.float32(c)), flags=FLAGS)
        return builder.fmul(found, builder.bitcast(builder.shl(up, integer(23)), here))

    def double(context, builder, signature, args):
        here = _vector(context, x)
        function = builder.module.declare_intrinsic(f"llvm.exp2.v{x.count}f64", fnty=ir.FunctionType(here, [here]))
        return builder.call(function, args)

    return x(x), single if x.dtype == types.float32 else double


@instruction
def between(_, x, since, until, s, other):
    """x in the lanes for which since <= s < until, the other vector's elsewhere; nan as any number."""

    def generate(context, builder, signature, args):
        value, since, until, s, other = args
        here = _vector(context, x)
        at = _spread(builder, builder.sitofp(s, here.element), here)
        inside = builder.and_(builder.fcmp_ordered("<=", since, at), builder.fcmp_ordered("<", at, until))
        return builder.select(inside, value, other)

    return x(x, since, until, types.intp, x), generate
