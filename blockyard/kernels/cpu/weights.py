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
def packed4(packed, group, x, bias, biased, add, added, y, sizes, first, last):
    """Tiles first to last of a matrix of 4 bits."""
    B, K, xs, ys = sizes
    units, size, back = K // UNIT, K // group * 32 + K * 8, full(np.float32(16))
    shift = group // UNIT - 1  # of one unit or two: a division would take longer than the unit
    sums, zero = sums_of(x, (B, K, xs), np.float32(1.5)), full(np.float32(0))
    for tile in range(first, last):
        scales, codes, b, n0 = tile * size, tile * size + K // group * 32, 0, tile * LANES
        while b + 4 <= B:
            a0 = a1 = a2 = a3 = zero
            for u in range(units):
                s = halves_at(packed, scales + (u >> shift) * 32)
                p0, p1, p2, p3 = _quad4(packed, codes + u * 256, x, b * xs + u * UNIT, xs)
                a0 = a0 + s * (p0 - full(sums[b * units + u]))
                a1 = a1 + s * (p1 - full(sums[(b + 1) * units + u]))
                a2 = a2 + s * (p2 - full(sums[(b + 2) * units + u]))
                a3 = a3 + s * (p3 - full(sums[(b + 3) * units + u]))
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
                a0 = a0 + s * (_one4(packed, codes + u * 256, x, b * xs + u * UNIT, xs) - full(sums[b * units + u]))
            finish(a0 * back, bias, biased, add, added, y, b * ys + n0, n0)
            b += 1


@compiled
def packed8(packed, group, x, bias, biased, add, added, y, sizes, first, last):
    """The same of 8 bits."""
    B, K, xs, ys = sizes
    units, size, zero = K // UNIT, K // group * 32 + K * 16, full(np.float32(0))
    shift = group // UNIT - 1
    for tile in range(first, last):
        scales, codes, b, n0 = tile * size, tile * size + K // group * 32, 0, tile * LANES
        while b + 4 <= B:
            a0 = a1 = a2 = a3 = zero
            for u in range(units):
                s = halves_at(packed, scales + (u >> shift) * 32)
                p0, p1, p2, p3 = _quad8(packed, codes + u * 512, x, b * xs + u * UNIT, xs)
                a0, a1, a2, a3 = a0 + s * p0, a1 + s * p1, a2 + s * p2, a3 + s * p3
            at = b * ys + n0
            finish(a0, bias, biased, add, added, y, at, n0)
            finish(a1, bias, biased, add, added, y, at + ys, n0)
            finish(a2, bias, biased, add, added, y, at + 2 * ys, n0)
            finish(a3, bias, biased, add, added, y, at + 3 * ys, n0)
            b += 4
        while b < B:
            a0 = zero
            for u in range(units):
                s = halves_at(packed, scales + (u >> shift) * 32)
                a0 = a0 + s * _one8(packed, codes + u * 512, x, b * xs + u * UNIT, xs)
            finish(a0, bias, biased, add, added, y, b * ys + n0, n0)
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
    given = (packed.view(-1).numpy(), group, x.view(-1).numpy(), nothing, False, nothing, False, y.view(-1).numpy())
    share(packed4 if bits == 4 else packed8, tiles, packed.numel(), *given, (B, K, K, tiles * LANES))
    return y
