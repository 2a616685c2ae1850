"""Products of small matrices whose sums stay in registers, and what else matrices of scores need.

    product(A, B, C, rows, length)          C (rows, one vector) = or += A (rows, length) B (length, one vector)
    turn(x, y, factor)                      y = factor x^T, a square of as many numbers a side as a vector has
    power(x)                                2^x lane by lane for x up to about 0, exactly 0 far below
    between(x, since, until, s, other)      x in the lanes for which since <= s < until, the other number elsewhere

A `Block` is a matrix in a flat array: where it begins, how far its rows lie apart, and its columns; `Sums` are one of
which a row is one vector, and say whether what is there is added to. Rows and lengths are multiples of four. A vector
of B and the sums of TALL rows are what a machine has registers for: twelve halves of a vector where those are 32 bytes
wide, twelve vectors where they are 64.

In here `a`, `b` and `c` are the parts of the matrices A, B and C, k runs along a row of A, r and s count rows.

Small numbers that are written into a call are types of their own to the compiler, and a loop is compiled once more for
each of them: those of `Block` and `Sums` are not, nor is what `lanes` gives.
"""

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from .compile import compiled, inlined
from .lanes import FLAGS, POWERS, Lanes, _pointer, _spread, _vector, instruction, load, loaded, stored
from .machine import has

TALL, FIVE, FOUR = (0,) * (12 if has("avx512f") else 6), (0,) * 5, (0,) * 4  # their lengths are compiled in
UNROLL = 4


class Block(NamedTuple):
    """A matrix in a flat array."""

    data: np.ndarray
    at: int
    row: int
    step: int


class Sums(NamedTuple):
    """A matrix of one vector a row, and whether it is added to."""

    data: np.ndarray
    at: int
    row: int
    add: bool


@compiled
def lanes(x):
    """How many numbers a vector of an array has."""
    return len(load(x, 0))


def _parts(builder: Any, block: Any) -> Any:
    return [builder.extract_value(block, i) for i in range(4)]


def _at(context: Any, builder: Any, kind: Any, block: Any, row: Any, step: Any = None) -> Any:
    """Where a matrix has its row, or its number of a row and a column."""
    data, at, rows, steps = block
    place = builder.add(at, builder.mul(rows, row))
    place = place if step is None else builder.add(place, builder.mul(steps, step))
    return _pointer(context, builder, kind.types[0], data, place)


@instruction
def _tile(_, shape, A, B, C, length):
    """C = or += A B for as many rows as the shape is long."""
    kind = Lanes(C.types[0].dtype)

    def generate(context, builder, signature, args):
        a, b, c = (_parts(builder, block) for block in args[1:4])
        length = args[4]
        vector, whole, one = _vector(context, kind), length.type, kind.dtype.bitwidth // 8
        number = lambda i: ir.Constant(whole, i)  # noqa: E731
        sums = [cgutils.alloca_once(builder, vector) for _ in range(shape.count)]
        places = [
            builder.bitcast(_at(context, builder, C, c, number(r)), vector.as_pointer()) for r in range(shape.count)
        ]
        for held in sums:
            builder.store(ir.Constant(vector, None), held)
        with builder.if_then(c[3]):
            for held, place in zip(sums, places):
                builder.store(builder.load(place, align=one), held)
        with cgutils.for_range_slice(builder, number(0), length, number(UNROLL)) as (first, _count):
            for more in range(UNROLL):
                k = builder.add(first, number(more))
                row = builder.bitcast(_at(context, builder, B, b, k), vector.as_pointer())
                row = builder.load(row, align=one)
                for r, held in enumerate(sums):
                    x = _spread(builder, builder.load(_at(context, builder, A, a, number(r), k)), vector)
                    term = builder.fmul(x, row, flags=FLAGS)
                    builder.store(builder.fadd(builder.load(held), term, flags=FLAGS), held)
        for held, place in zip(sums, places):
            builder.store(builder.load(held), place, align=one)
        return context.get_dummy_value()

    return types.void(shape, A, B, C, length), generate


@inlined
def _some(shape, A, B, C, r, length):
    """As many rows of C as the shape is long, from row r on."""
    a, c = Block(A.data, A.at + r * A.row, A.row, A.step), Sums(C.data, C.at + r * C.row, C.row, C.add)
    _tile(shape, a, B, c, length)


@compiled
def product(A, B, C, rows, length):
    """C (rows, one vector) = or += A (rows, length) B (length, one vector)."""
    tall = rows // 12 * 12
    tens = len(TALL) == 6 and rows - tall == 4 and tall > 0  # 16 are 6, 5 and 5
    tall -= 6 if tens else 0
    for r in range(0, tall, len(TALL)):
        _some(TALL, A, B, C, r, length)
    middle = tall + (10 if tens else 0)
    for r in range(tall, middle, 5):
        _some(FIVE, A, B, C, r, length)
    for r in range(middle, rows, 4):
        _some(FOUR, A, B, C, r, length)


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
        both = [ir.Constant(masks, [i // 2 + shift + (n if i % 2 else 0) for i in range(n)]) for shift in (0, half)]
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
