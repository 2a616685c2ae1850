"""Vectors of numbers for the compiled loops: left to itself a compiler vectorises one such loop and not the next.

    x = load(array, at)       LANES(array) neighbours of a flat array as one vector; store(array, at, x) puts them back
    put(array, at, number)    one number, in the array's own precision
    splat(array, at)          one number in every lane
    x + y, x - y, x * y, x / y lane by lane; a product that is added to is one operation
    maximum(x, y)              lane by lane
    reduce_add(x), reduce_max(x)      over the lanes
    exponential(x)            e^x of a number or of a vector: exactly 1 at 0, exactly 0 far below
    reduce_rows(array, at)           LANES vectors that lie one behind the other -> the vector of their sums
    aligned_zeros(n, like)          a flat array of zeros that starts at a cache line

Arrays of 16-bit words hold bfloat16: they are loaded as single-precision vectors and stored rounded to even. Signed
bytes are loaded so too.

A vector is 64 bytes, whatever the machine's registers are: the code generator splits what is too wide. Nothing checks
an index. With arrays padded to whole vectors there are no remainders.
"""

import operator
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, overload, register_model

from .chunks import LOG2E

FLAGS = ("contract", "nsz")
PAD = 16  # numbers to which arrays are padded: whole vectors in both precisions


class Lanes(types.Type):
    """64 bytes of one float type."""

    def __init__(self, dtype: Any):
        self.dtype, self.count = dtype, 512 // dtype.bitwidth
        super().__init__(name=f"Lanes({dtype})")


def instruction(generator: Any) -> Any:
    """What loops call without the interpreter's arguments; a type checker sees any callable."""
    return intrinsic(generator)


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):  # pyright: ignore
    def __init__(self, manager: Any, kind: Any):
        element = ir.FloatType() if kind.dtype == types.float32 else ir.DoubleType()
        super().__init__(manager, kind, ir.VectorType(element, kind.count))


def _pointer(context: Any, builder: Any, kind: Any, value: Any, at: Any) -> Any:
    data = context.make_array(kind)(context, builder, value).data
    return builder.gep(data, [at])


def _vector(context: Any, kind: Any) -> Any:
    return context.get_value_type(kind)


def _spread(builder: Any, number: Any, vector: Any) -> Any:
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), number, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), zeros)


def _lanes_of(array: Any) -> Lanes:
    return Lanes(types.float32 if array.dtype in (types.uint16, types.int8) else array.dtype)


def _words(count: int, bits: int) -> Any:
    return ir.VectorType(ir.IntType(bits), count)


def _same(value: int, count: int) -> Any:
    return ir.Constant(_words(count, 32), [value] * count)


def loaded(context: Any, builder: Any, array: Any, value: Any, at: Any) -> Any:
    """The vector of an array at a place."""
    kind, halves, octets = _lanes_of(array), array.dtype == types.uint16, array.dtype == types.int8
    vector = _vector(context, kind)
    held = _words(kind.count, 16) if halves else _words(kind.count, 8) if octets else vector
    pointer = builder.bitcast(_pointer(context, builder, array, value, at), held.as_pointer())
    found = builder.load(pointer, align=array.dtype.bitwidth // 8)
    if octets:
        return builder.sitofp(builder.sext(found, _words(kind.count, 32)), vector)
    if not halves:
        return found
    return builder.bitcast(builder.shl(builder.zext(found, _words(kind.count, 32)), _same(16, kind.count)), vector)


def _halved(builder: Any, found: Any) -> Any:
    """The vector, rounded to even, as bfloat16."""
    count = found.type.count
    bits = builder.bitcast(found, _words(count, 32))
    odd = builder.and_(builder.lshr(bits, _same(16, count)), _same(1, count))
    even = builder.lshr(builder.add(builder.add(bits, _same(0x7FFF, count)), odd), _same(16, count))
    lost = builder.fcmp_unordered("uno", found, found)  # rounded up, a nan might become another number
    return builder.trunc(builder.select(lost, _same(0x7FC0, count), even), _words(count, 16))


def stored(context: Any, builder: Any, array: Any, value: Any, at: Any, found: Any) -> None:
    """The vector put into an array."""
    if array.dtype == types.uint16:
        found = _halved(builder, found)
    pointer = builder.bitcast(_pointer(context, builder, array, value, at), found.type.as_pointer())
    builder.store(found, pointer, align=array.dtype.bitwidth // 8)


@instruction
def load(_, array, at):
    def generate(context, builder, signature, args):
        return loaded(context, builder, signature.args[0], *args)

    return _lanes_of(array)(array, types.intp), generate


@instruction
def store(_, array, at, value):
    def generate(context, builder, signature, args):
        stored(context, builder, signature.args[0], *args)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), generate


@instruction
def put(_, array, at, number):
    def generate(context, builder, signature, args):
        kind, found, first = signature.args[0], args[2], ir.Constant(ir.IntType(32), 0)
        if kind.dtype == types.uint16:
            vector = ir.VectorType(ir.FloatType(), 1)
            one = builder.insert_element(ir.Constant(vector, ir.Undefined), found, first)
            found = builder.extract_element(_halved(builder, one), first)
        elif kind.dtype == types.int8:
            found = builder.fptosi(found, ir.IntType(8))
        builder.store(found, _pointer(context, builder, kind, *args[:2]))
        return context.get_dummy_value()

    return types.void(array, types.intp, number), generate


@instruction
def splat(_, array, at):
    kind, halves = _lanes_of(array), array.dtype == types.uint16

    def generate(context, builder, signature, args):
        number = builder.load(_pointer(context, builder, signature.args[0], *args))
        if halves:
            word = ir.IntType(32)
            number = builder.bitcast(builder.shl(builder.zext(number, word), ir.Constant(word, 16)), ir.FloatType())
        return _spread(builder, number, _vector(context, kind))

    return kind(array, types.intp), generate


def prefetched(context: Any, builder: Any, array: Any, value: Any, at: Any) -> None:
    """The cache line of a place asked for."""
    byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
    function = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
    pointer = builder.bitcast(_pointer(context, builder, array, value, at), byte)
    builder.call(function, [pointer, *(ir.Constant(word, value) for value in (0, 3, 1))])  # to read, near, data


@instruction
def prefetch(_, array, at):
    """Ask for the cache line of a place; any place will do, also behind an end."""

    def generate(context, builder, signature, args):
        prefetched(context, builder, signature.args[0], *args)
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


@instruction
def full(_, number):
    """A number in every lane."""
    kind = Lanes(number)

    def generate(context, builder, signature, args):
        return _spread(builder, args[0], _vector(context, kind))

    return kind(number), generate


def _over_lanes(join: Any) -> Any:
    """An intrinsic: one number of all lanes, two halves joined again and again."""

    @instruction
    def over(_, x):
        def generate(context, builder, signature, args):
            value, half = args[0], x.count // 2
            while half:
                rotated = ir.Constant(_words(x.count, 32), [(i + half) % x.count for i in range(x.count)])
                value = join(builder, value, builder.shuffle_vector(value, value, rotated))
                half //= 2
            return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

        return x.dtype(x), generate

    return over


def _maximum(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


reduce_add = _over_lanes(lambda builder, a, b: builder.fadd(a, b, flags=FLAGS))
reduce_max = _over_lanes(_maximum)


@instruction
def maximum(_, x, y):
    def generate(context, builder, signature, args):
        return _maximum(builder, *args)

    return x(x, y), generate


@instruction
def reduce_rows(_, array, at):
    kind = Lanes(array.dtype)

    def generate(context, builder, signature, args):
        n, rows = kind.count, []
        for i in range(n):
            where = builder.add(args[1], ir.Constant(args[1].type, i * n))
            pointer = _pointer(context, builder, signature.args[0], args[0], where)
            pointer = builder.bitcast(pointer, _vector(context, kind).as_pointer())
            rows.append(builder.load(pointer, align=kind.dtype.bitwidth // 8))
        masks = ir.VectorType(ir.IntType(32), n)
        even, odd = (ir.Constant(masks, [2 * i + shift for i in range(n)]) for shift in (0, 1))
        while len(rows) > 1:  # neighbours of two vectors are added into one, until every lane is one row's sum
            pairs = zip(rows[::2], rows[1::2])
            rows = [
                builder.fadd(builder.shuffle_vector(a, b, even), builder.shuffle_vector(a, b, odd), flags=FLAGS)
                for a, b in pairs
            ]
        return rows[0]

    return kind(array, types.intp), generate


def _lane_by_lane(symbol: Any, name: str) -> None:
    """The operator of two vectors is this instruction."""

    @instruction
    def apply(_, a, b):
        def generate(context, builder, signature, args):
            return getattr(builder, name)(*args, flags=FLAGS)

        return a(a, b), generate

    @overload(symbol)
    def _both(a, b):
        if isinstance(a, Lanes) and a == b:
            return lambda a, b: apply(a, b)


_lane_by_lane(operator.add, "fadd")
_lane_by_lane(operator.sub, "fsub")
_lane_by_lane(operator.mul, "fmul")
_lane_by_lane(operator.truediv, "fdiv")


@overload(len)
def _lanes_len(x):
    if isinstance(x, Lanes):
        count = x.count
        return lambda x: count


# 2^f for f in [-1/2, 1/2], relative error 2e-7: Cephes' exp2f
POWERS = (1.535336188319500e-4, 1.339887440266574e-3, 9.618437357674640e-3, 5.550332471162809e-2)
POWERS = (*POWERS, 2.402264791363012e-1, 6.931472028550421e-1, 1.0)


@instruction
def exponential(_, x):
    dtype = getattr(x, "dtype", x)

    def single(context, builder, signature, args):
        here = _vector(context, x)
        whole = ir.IntType(32) if x is dtype else ir.VectorType(ir.IntType(32), x.count)
        many = (lambda c: c) if x is dtype else (lambda c: [c] * x.count)
        number, integer = (lambda c: ir.Constant(here, many(c))), (lambda c: ir.Constant(whole, many(c)))
        z = builder.fmul(args[0], number(np.float32(LOG2E)))
        low, high = number(-127.0), number(128.0)  # 2^-127 comes out as 0, 2^128 as infinity; nan passes both tests
        z = builder.select(builder.fcmp_ordered("<", z, low), low, z)
        z = builder.select(builder.fcmp_ordered(">", z, high), high, z)
        up = builder.fptosi(builder.fadd(z, number(127.5)), whole)
        f = builder.fsub(z, builder.sitofp(builder.sub(up, integer(127)), here))
        power = number(np.float32(POWERS[0]))
        for c in POWERS[1:]:
            power = builder.fadd(builder.fmul(power, f, flags=FLAGS), number(np.float32(c)), flags=FLAGS)
        return builder.fmul(power, builder.bitcast(builder.shl(up, integer(23)), here))

    def double(context, builder, signature, args):
        here = _vector(context, x)
        name = "llvm.exp.f64" if x is dtype else f"llvm.exp.v{x.count}f64"
        function = builder.module.declare_intrinsic(name, fnty=ir.FunctionType(here, [here]))
        return builder.call(function, args)

    return x(x), single if dtype == types.float32 else double
