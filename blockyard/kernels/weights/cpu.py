"""Few rows times a packed matrix, read once from memory and never written out as numbers.

A tile is 16 rows of W: one lane each, so a product needs no sum across lanes, and 32 columns at a time, a unit, are
unrolled. With n a code as it is kept, 0 to 2^b - 1, a unit is multiplied in one of two ways:

    bytes     x = t (256 h + l), two signed bytes a number and one t a unit: 16 bits of precision. One instruction adds
              four products of bytes to each lane:
              sum (n - 2^(b-1)) x = t (256 sum n h + sum n l - 2^(b-1) sum (256 h + l))
    floats    n as the first bits of a mantissa is 1 + n / 2^b without a conversion:
              sum (n - 2^(b-1)) x = 2^b (sum (1 + n / 2^b) x - 3/2 sum x)

The last sum of each is known before a row of W is read, and is what its sum begins with. Rows of x come one by one, for
a tile stays in the innermost cache. Their lines reach to whole blocks, those of y to whole tiles.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.extending import overload
from torch import Tensor
from torch.nn.functional import pad

from ..matrix.cpu import SOON, finish
from ..toolkit.compile import compiled
from ..toolkit.lanes import FLAGS, Lanes, _pointer, _spread, full, instruction, prefetch, splat
from ..toolkit.machine import has
from ..toolkit.parallel import parallel_for

UNIT = 32  # columns that are unrolled
LANES = 16
BYTES, FLOATS = np.empty(0, np.int32), np.empty(0, np.float32)
WAY = BYTES if has("avx512vnni") else FLOATS
CHAINS = 4  # sums of floats that do not wait for one another
MOST = 32512  # 256 times 127: the largest number of two signed bytes

_word, _float = ir.IntType(32), ir.FloatType()
_words, _floats = ir.VectorType(_word, LANES), ir.VectorType(_float, LANES)


def _same(value: int) -> Any:
    return ir.Constant(_words, [value] * LANES)


def _at(builder: Any, data: Any, offset: int, kind: Any) -> Any:
    """The vector of this kind, `offset` bytes on; tiles of a loaded file may stand anywhere."""
    pointer = builder.gep(data, [ir.Constant(ir.IntType(64), offset)])
    return builder.load(builder.bitcast(pointer, kind.as_pointer()), align=1)


def _moved(builder: Any, held: Any, up: int) -> Any:
    return builder.shl(held, _same(up)) if up >= 0 else builder.lshr(held, _same(-up))


def _fours(builder: Any, data: Any, bits: int) -> Any:
    """Codes of four columns at a time, a byte each."""
    for i in range(bits * UNIT // 32):
        held = _at(builder, data, 64 * i, _words)
        if bits == 8:
            yield held
        else:
            yield builder.and_(held, _same(0x0F0F0F0F))
            yield builder.and_(_moved(builder, held, -4), _same(0x0F0F0F0F))


def _by_bytes(builder: Any, data: Any, line: Any, start: Any, bits: int) -> Any:
    """Sums of a unit, whose 8 words of high bytes of x come before those of low ones."""
    called = "llvm.x86.avx512.vpdpbusd.512"
    dot = builder.module.declare_intrinsic(called, fnty=ir.FunctionType(_words, [_words] * 3))
    both = [_same(0), start]
    for four, codes in enumerate(_fours(builder, data, bits)):
        for half in (0, 1):
            word = builder.load(builder.gep(line, [ir.Constant(ir.IntType(64), four + half * UNIT // 4)]))
            both[half] = builder.call(dot, [both[half], codes, _spread(builder, word, _words)])
    high, low = both
    return builder.sitofp(builder.add(builder.shl(high, _same(8)), low), _floats)


def _by_floats(builder: Any, data: Any, line: Any, start: Any, bits: int) -> Any:
    """Sums of a unit."""
    many = [start, *[ir.Constant(_floats, [0.0] * LANES)] * (CHAINS - 1)]
    for column in range(UNIT):
        word, four, byte = column * bits // 32, column // 4, column % 4
        low = 8 * byte + (4 * (four % 2) if bits == 4 else 0)  # where the code's bits begin
        codes = _moved(builder, _at(builder, data, 64 * word, _words), 23 - bits - low)
        codes = builder.and_(codes, _same((1 << bits) - 1 << 23 - bits))
        codes = builder.bitcast(builder.or_(codes, _same(0x3F800000)), _floats)
        number = builder.load(builder.gep(line, [ir.Constant(ir.IntType(64), column)]))
        product = builder.fmul(codes, _spread(builder, number, _floats), flags=FLAGS)
        many[column % CHAINS] = builder.fadd(many[column % CHAINS], product, flags=FLAGS)
    while len(many) > 1:
        many = [builder.fadd(a, b, flags=FLAGS) for a, b in zip(many[::2], many[1::2])]
    return many[0]


def _unit(bits: int) -> Any:
    """An intrinsic: 16 rows of W times a unit of x, at these places."""
    lanes = Lanes(types.float32)

    @instruction
    def unit(typing, packed, at, x, begin, starts, first):  # pyright: ignore
        whole = x.dtype == types.int32

        def generate(context, builder, signature, args):
            def pointer(array, where):
                return _pointer(context, builder, signature.args[array], args[array], args[where])

            start = _spread(builder, builder.load(pointer(4, 5)), _words if whole else _floats)
            return (_by_bytes if whole else _by_floats)(builder, pointer(0, 1), pointer(2, 3), start, bits)

        where = types.intp
        return lanes(packed, where, x, where, starts, where), generate

    return unit


_unit4, _unit8 = (_unit(bits) for bits in (4, 8))


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


class Packed(NamedTuple):
    """A packed matrix, and how it is packed."""

    codes: np.ndarray
    bits: int
    group: int


class Numbers(NamedTuple):
    """What units multiply, apart from line to line and from unit to unit; what a unit's sum begins with; its scale."""

    numbers: np.ndarray
    line: int
    unit: int
    starts: np.ndarray
    scales: np.ndarray


@compiled
def as_bytes(way, bits, x, sizes):
    """Words of four bytes."""
    B, K, xs = sizes
    units, half = K // UNIT, np.float32(0.5)
    pieces = np.empty(B * units * 2 * UNIT, np.int8)
    starts, scales = np.empty(B * units, np.int32), np.empty(B * units, np.float32)
    for i in range(B * units):
        at, to, peak, every = i // units * xs + i % units * UNIT, i * 2 * UNIT, np.float32(0), np.int32(0)
        for c in range(UNIT):
            peak = max(peak, abs(x[at + c]))
        lost = np.float32(0)
        for c in range(UNIT):
            lost += x[at + c] * np.float32(0)  # neither nan nor infinity goes by unseen
        scale = np.float32(MOST) / peak if peak > np.float32(1e-30) and lost == 0 else np.float32(0)
        for c in range(UNIT):
            z = np.int32(x[at + c] * scale + np.float32(MOST + 256) + half) - np.int32(MOST + 256)
            high = (z + np.int32(128)) >> np.int32(8)
            pieces[to + c], pieces[to + UNIT + c] = high, z - (high << np.int32(8))
            every += z
        starts[i] = -every << np.int32(bits - 1)
        scales[i] = peak / np.float32(MOST) + lost
    return Numbers(pieces.view(np.int32), units * UNIT // 2, UNIT // 2, starts, scales)


@compiled
def as_floats(way, bits, x, sizes):
    """x as it is."""
    B, K, xs = sizes
    units = K // UNIT
    starts, scales = np.empty(B * units, np.float32), np.full(B * units, np.float32(1 << bits))
    for i in range(B * units):
        at, s = i // units * xs + i % units * UNIT, np.float32(0)
        for c in range(UNIT):
            s += x[at + c]
        starts[i] = np.float32(-1.5) * s
    return Numbers(x, xs, UNIT, starts, scales)


def prepared(way: Any, bits: Any, x: Any, sizes: Any) -> Any:
    """What a unit multiplies, in the way of an array's type."""
    raise TypeError("of compiled loops only")


@overload(prepared)
def _prepared(way, bits, x, sizes):
    made = as_bytes if way.dtype == types.int32 else as_floats
    return lambda way, bits, x, sizes: made(way, bits, x, sizes)


@compiled
def row(weight, at, x, b, units, soon):
    """A tile, which begins at `at`, times one line of x; `soon` asks for what the next units need."""
    packed, bits, group = weight
    codes, codes_of, out = at + units * UNIT // group * 32, UNIT * bits * 2, full(np.float32(0))
    shift = group // UNIT - 1  # of one unit or two: a division would take longer than the unit
    begin, m = b * x.line, b * units
    for u in range(units):
        here = codes + u * codes_of
        for i in range(0, codes_of if soon else 0, 64):
            prefetch(packed, here + i + SOON)
        if bits == 4:
            found = _unit4(packed, here, x.numbers, begin + u * x.unit, x.starts, m + u)
        else:
            found = _unit8(packed, here, x.numbers, begin + u * x.unit, x.starts, m + u)
        out = out + halves_at(packed, at + (u >> shift) * 32) * splat(x.scales, m + u) * found
    return out


@compiled
def product(way, weight, x, bias, biased, y, sizes, first, last):
    """Tiles first to last."""
    B, K, xs, ys = sizes
    units, size = K // UNIT, K // weight.group * 32 + K * weight.bits * 2
    numbers = prepared(way, weight.bits, x, (B, K, xs))
    for tile in range(first, last):
        n0 = tile * LANES
        for b in range(B):
            finish(row(weight, tile * size, numbers, b, units, b == 0), bias, biased, y, b * ys + n0, n0)


@compiled
def unpack(packed, bits, group, K, row, y):
    """One row of the matrix as numbers, whole blocks."""
    size = K // group * 32 + K * bits * 2
    at, r = row // LANES * size, row % LANES
    codes = at + K // group * 32
    for u in range(0, K, LANES):
        scale = lane(halves_at(packed, at + u // group * 32), r)
        for c in range(u, u + LANES):
            if bits == 8:
                code = np.int32(packed[codes + c // 4 * 64 + r * 4 + c % 4]) - 128
            else:
                pair = np.int32(packed[codes + c // 8 * 64 + r * 4 + c % 4])
                code = ((pair >> 4) if c % 8 > 3 else (pair & 15)) - 8
            y[c] = scale * np.float32(code)


def few(x: Tensor, packed: Tensor, bits: int, group: int, way: np.ndarray = WAY) -> Tensor:
    """x (B,K) float32, contiguous -> (B, 16 tiles)."""
    (B, K), tiles = x.shape, packed.shape[0]
    y, nothing = torch.empty(B, tiles * LANES), np.empty(0, np.float32)
    lines, out = x.view(-1).numpy(), y.view(-1).numpy()
    given = (way, Packed(packed.view(-1).numpy(), bits, group), lines, nothing, False, out)
    parallel_for(product, tiles, packed.numel(), *given, (B, K, K, tiles * LANES))
    return y


def packed_linear(x: Tensor, packed: Tensor, bits: int, group: int, N: int) -> Tensor:
    K = x.shape[-1]
    rows = x.reshape(-1, K).float()
    y = few((pad(rows, (0, -K % group)) if K % group else rows).contiguous(), packed, bits, group)
    return y[:, :N].to(x.dtype).view(*x.shape[:-1], N)
