"""Few rows times a packed matrix, read once from memory and never written out as numbers.

A tile is 16 rows of W: one lane each, so a product needs no sum across lanes, and 32 columns at a time are unrolled.
With n the 4 bits of a code, 1.nnnn as the mantissa of a number is 1 + n / 16 without a conversion; what that adds is
known from the sum of x:

    sum_c s (n_c - 8) x_c = 16 s (sum_c (1 + n_c / 16) x_c - 1.5 sum_c x_c)

Four rows of x share what was unpacked. Lines of x reach to whole blocks, those of y to whole tiles.
"""

from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import types
from torch import Tensor

from ._compile import compiled
from ._lanes import FLAGS, Lanes, full, instruction
from ._share import share
from .product import finish

UNIT = 32  # columns that are unrolled
LANES = 16

_word, _byte, _float = ir.IntType(32), ir.IntType(8), ir.FloatType()
_words, _floats = ir.VectorType(_word, LANES), ir.VectorType(_float, LANES)


def _same(value: int) -> Any:
    return ir.Constant(_words, [value] * LANES)


def _at(builder: Any, data: Any, offset: int, kind: Any) -> Any:
    """The vector of this kind, `offset` bytes on; tiles of a loaded file may stand anywhere."""
    place = builder.gep(data, [ir.Constant(ir.IntType(64), offset)])
    return builder.load(builder.bitcast(place, kind.as_pointer()), align=1)


def _columns4(builder: Any, data: Any) -> Any:
    for word in range(UNIT // 8):
        held = _at(builder, data, 64 * word, _words)
        for k in range(8):
            up = 19 - 4 * k  # the four bits to the top of the mantissa
            moved = builder.shl(held, _same(up)) if up >= 0 else builder.lshr(held, _same(-up))
            moved = builder.or_(builder.and_(moved, _same(15 << 19)), _same(0x3F800000))
            yield builder.bitcast(moved, _floats)


def _columns8(builder: Any, data: Any) -> Any:
    for column in range(UNIT):
        held = _at(builder, data, LANES * column, ir.VectorType(_byte, LANES))
        yield builder.sitofp(builder.sext(held, _words), _floats)


_COLUMNS = {4: _columns4, 8: _columns8}


def _unit(bits: int, rows: int) -> Any:
    """An intrinsic: 16 rows of W times 32 numbers of each of `rows` rows of x, which lie `apart` numbers apart."""
    lanes = Lanes(types.float32)
    chains = max(1, 4 // rows)  # sums that do not wait for one another

    @instruction
    def unit(typing, packed, at, x, begin, apart):  # pyright: ignore
        def generate(context, builder, signature, args):
            data = builder.gep(context.make_array(signature.args[0])(context, builder, args[0]).data, [args[1]])
            numbers = context.make_array(signature.args[2])(context, builder, args[2]).data
            starts = [
                builder.gep(numbers, [builder.add(args[3], builder.mul(args[4], ir.Constant(args[4].type, r)))])
                for r in range(rows)
            ]
            nothing, zeros = ir.Constant(_floats, ir.Undefined), ir.Constant(_words, [0] * LANES)
            sums: list[list[Any]] = [[ir.Constant(_floats, [0.0] * LANES)] * chains for _ in range(rows)]
            for column, weights in enumerate(_COLUMNS[bits](builder, data)):
                for row, start in enumerate(starts):
                    number = builder.load(builder.gep(start, [ir.Constant(ir.IntType(64), column)]))
                    one = builder.insert_element(nothing, number, ir.Constant(_word, 0))
                    product = builder.fmul(weights, builder.shuffle_vector(one, nothing, zeros), flags=FLAGS)
                    chain = column % chains
                    sums[row][chain] = builder.fadd(sums[row][chain], product, flags=FLAGS)
            found = []
            for many in sums:
                while len(many) > 1:
                    many = [builder.fadd(a, b, flags=FLAGS) for a, b in zip(many[::2], many[1::2])]
                found.append(many[0])
            return found[0] if rows == 1 else context.make_tuple(builder, signature.return_type, found)

        result = lanes if rows == 1 else types.UniTuple(lanes, rows)
        return result(packed, types.intp, x, types.intp, types.intp), generate

    return unit


_one4, _one8 = (_unit(bits, 1) for bits in (4, 8))
_quad4, _quad8 = (_unit(bits, 4) for bits in (4, 8))


@instruction
def lane(typing, x, i):
    """One number of a vector."""

    def generate(context, builder, signature, args):
        return builder.extract_element(args[0], args[1])

    return types.float32(x, types.intp), generate


@instruction
def halves_at(typing, packed, at):  # pyright: ignore
    """16 half-precision numbers from this byte on, as single ones."""

    def generate(context, builder, signature, args):
        data = builder.gep(context.make_array(signature.args[0])(context, builder, args[0]).data, [args[1]])
        return builder.fpext(_at(builder, data, 0, ir.VectorType(ir.HalfType(), LANES)), _floats)

    return Lanes(types.float32)(packed, types.intp), generate


@compiled
def sums_of(x, sizes, times):
    """(B, units) of every unit of columns, times a number."""
    B, K, xs = sizes
    found = np.empty(B * (K // UNIT), np.float32)
    for i in range(len(found)):
        b, u, s = i // (K // UNIT), i % (K // UNIT), np.float32(0)
        for c in range(UNIT):
            s += x[b * xs + u * UNIT + c]
        found[i] = s * times
    return found


@compiled
def one(bits, packed, at, x, xa, apart):
    return _one4(packed, at, x, xa, apart) if bits == 4 else _one8(packed, at, x, xa, apart)


@compiled
def quad(bits, packed, at, x, xa, apart):
    return _quad4(packed, at, x, xa, apart) if bits == 4 else _quad8(packed, at, x, xa, apart)


@compiled
def product(packed, bits, group, x, bias, biased, add, added, y, sizes, first, last):
    """Tiles first to last. What the codes of 4 bits add is taken off again, and their sixteenths are made whole."""
    B, K, xs, ys = sizes
    units, size, codes_of, zero = K // UNIT, K // group * 32 + K * bits * 2, UNIT * bits * 2, full(np.float32(0))
    shift = group // UNIT - 1  # of one unit or two: a division would take longer than the unit
    back = full(np.float32(16 if bits == 4 else 1))
    sums = sums_of(x, (B, K, xs), np.float32(1.5 if bits == 4 else 0))
    for tile in range(first, last):
        scales, codes, b, n0 = tile * size, tile * size + K // group * 32, 0, tile * LANES
        while b + 4 <= B:
            a0 = a1 = a2 = a3 = zero
            for u in range(units):
                s, m = halves_at(packed, scales + (u >> shift) * 32), b * units + u
                p0, p1, p2, p3 = quad(bits, packed, codes + u * codes_of, x, b * xs + u * UNIT, xs)
                a0, a1 = a0 + s * (p0 - full(sums[m])), a1 + s * (p1 - full(sums[m + units]))
                a2, a3 = a2 + s * (p2 - full(sums[m + 2 * units])), a3 + s * (p3 - full(sums[m + 3 * units]))
            at = b * ys + n0
            finish(a0 * back, bias, biased, add, added, y, at, n0)
            finish(a1 * back, bias, biased, add, added, y, at + ys, n0)
            finish(a2 * back, bias, biased, add, added, y, at + 2 * ys, n0)
            finish(a3 * back, bias, biased, add, added, y, at + 3 * ys, n0)
            b += 4
        while b < B:
            a0 = zero
            for u in range(units):
                s = halves_at(packed, scales + (u >> shift) * 32)
                p0 = one(bits, packed, codes + u * codes_of, x, b * xs + u * UNIT, xs)
                a0 = a0 + s * (p0 - full(sums[b * units + u]))
            finish(a0 * back, bias, biased, add, added, y, b * ys + n0, n0)
            b += 1


@compiled
def unpack(packed, bits, group, K, row, y):
    """One row of the matrix as numbers, whole blocks."""
    size = K // group * 32 + K * bits * 2
    at, r = row // LANES * size, row % LANES
    codes = at + K // group * 32
    for u in range(0, K, LANES):
        s = halves_at(packed, at + u // group * 32)
        scale = lane(s, r)
        for c in range(u, u + LANES):
            if bits == 8:
                code = np.int8(packed[codes + c * LANES + r])
                y[c] = scale * np.float32(code)
            else:
                pair = packed[codes + c // 8 * 64 + r * 4 + c % 8 // 2]
                y[c] = scale * np.float32(((pair >> 4) if c % 2 else (pair & 15)) - 8)


def packed_linear(x: Tensor, packed: Tensor, bits: int, group: int) -> Tensor:
    """x (B,K) float32, contiguous -> (B, 16 tiles)."""
    (B, K), tiles = x.shape, packed.shape[0]
    y, nothing = torch.empty(B, tiles * LANES), np.empty(0, np.float32)
    given = (
        packed.view(-1).numpy(),
        bits,
        group,
        x.view(-1).numpy(),
        nothing,
        False,
        nothing,
        False,
        y.view(-1).numpy(),
    )
    share(product, tiles, packed.numel(), *given, (B, K, K, tiles * LANES))
    return y
