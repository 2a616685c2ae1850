"""A token through a whole model in one call, or a few: instructions, read by every thread, side by side.

No result is written over, so what is small is done by every thread (all write the same numbers) unless there are
several tokens, and only what is shared out ends with a barrier. What a token gives is the same to the last bit however
many come with it.

`code` holds the integers of an instruction, `consts` the numbers that they point at. x, z and y are vectors at
addresses, xs, zs and ys how far apart their lines are; b counts lines, and `at`, za and `to` are where a line of each
begins.
"""

import math

import numpy as np

from ..conv import cpu as conv
from ..decayed import cpu as decayed
from ..delta import cpu as delta
from ..diagonal import cpu as diagonal
from ..matrix.cpu import dense
from ..selective import cpu as selective
from ..softmax import cpu as softmax
from ..toolkit.compile import aligned_zeros, compiled
from ..toolkit.lanes import exponential, full, load, reduce_add, store
from ..toolkit.machine import barrier, bfloat16_at, float32_at, int8_at, uint8_at
from ..weights.cpu import WAY, Packed, unpack
from ..weights.cpu import product as packed
from . import codes

NONE = np.empty((0, 0), np.uint8)  # no resets


@compiled
def part(n, thread, threads):
    """This thread's share of n tasks."""
    return n * thread // threads, n * (thread + 1) // threads


@compiled
def embed(code, tokens, first, last):
    table, bits, D, y, ys = code[1], code[2], code[3], float32_at(code[4]), code[5]
    words, numbers = bfloat16_at(table), float32_at(table)
    row = aligned_zeros(D + 64, y)
    for b in range(first, last):
        at, begin = row, 0
        if bits <= 8:
            unpack(uint8_at(table), bits, code[6], D + -D % code[6], tokens[b], row)
        elif bits == 32:
            at, begin = numbers, tokens[b] * D
        for i in range(0, D, 16):
            store(y, b * ys + i, load(words, tokens[b] * D + i) if bits == 16 else load(at, begin + i))


@compiled
def lookup(code, positions, first, last):
    """A line of a table of positions."""
    table, y, ys, n = float32_at(code[1]), float32_at(code[2]), code[3], code[4]
    for b in range(first, last):
        for i in range(n):
            y[b * ys + i] = table[positions[b] * n + i]


@compiled
def mean(code, consts, first, last):
    """Sums of D neighbours, times a constant."""
    x, xs, y, ys, heads, D = float32_at(code[1]), code[2], float32_at(code[3]), code[4], code[5], code[6]
    for b in range(first, last):
        for h in range(heads):
            both = full(np.float32(0))
            for i in range(0, D, 16):
                both = both + load(x, b * xs + h * D + i)
            y[b * ys + h] = reduce_add(both) * consts[code[7]]


@compiled
def norm(code, consts, first, last):
    """`heads` of D numbers; a gain for one head, or `each` apart for all."""
    x, xs, y, ys, heads, D, each = float32_at(code[1]), code[2], float32_at(code[3]), code[4], code[5], code[6], code[7]
    gain, bias, eps, centred = float32_at(code[8]), float32_at(code[9]), consts[code[10]], code[11]
    n = np.float32(D)
    zero, one = np.float32(0), np.float32(1)
    for b in range(first, last):
        for h in range(heads):
            at, to, middle = b * xs + h * D, b * ys + h * D, zero
            if centred:
                both = full(zero)
                for i in range(0, D, 16):
                    both = both + load(x, at + i)
                middle = reduce_add(both) / n
            centre, squares = full(middle), full(zero)
            for i in range(0, D, 16):
                away = load(x, at + i) - centre
                squares = squares + away * away
            scale = full(one / np.float32(math.sqrt(reduce_add(squares) / n + eps)))
            for i in range(0, D, 16):
                out = (load(x, at + i) - centre) * scale * load(gain, h * each + i)
                store(y, to + i, out + load(bias, i) if code[9] else out)


@compiled
def activate(f, x):
    """A function of a vector of numbers."""
    zero, one = full(np.float32(0)), full(np.float32(1))
    if f == codes.SILU:
        return x / (one + exponential(zero - x))
    if f == codes.SIGMOID:
        return one / (one + exponential(zero - x))
    if f == codes.GELU:
        inner = full(np.float32(1.5957691216057308)) * (x + full(np.float32(0.044715)) * x * x * x)
        return x / (one + exponential(zero - inner))
    if f == codes.EXP:
        return exponential(x)
    return x


@compiled
def activate_scalar(f, x):
    """A function of a number."""
    if f == codes.RELU:
        return max(x, np.float32(0))
    if f == codes.SQUARED:
        return max(x, np.float32(0)) ** 2
    if f == codes.LOG:
        return np.float32(math.log(x))
    if f == codes.EXPM1:
        return np.float32(math.expm1(x))
    if f == codes.RSQRT:
        return np.float32(1) / np.float32(math.sqrt(x))
    return np.float32(math.log1p(math.exp(-abs(x)))) + max(x, np.float32(0))


@compiled
def apply(code, consts, first, last):
    """y = scale f(x) + shift, of n numbers."""
    x, xs, y, ys, n, f = float32_at(code[1]), code[2], float32_at(code[3]), code[4], code[5], code[6]
    scale, shift = consts[code[7]], consts[code[8]]
    for b in range(first, last):
        if f in (codes.RELU, codes.SQUARED, codes.LOG, codes.SOFTPLUS, codes.EXPM1, codes.RSQRT):
            for i in range(n):
                y[b * ys + i] = scale * activate_scalar(f, x[b * xs + i]) + shift
        else:
            for i in range(0, n, 16):
                store(y, b * ys + i, full(scale) * activate(f, load(x, b * xs + i)) + full(shift))


@compiled
def join(code, first, last):
    """y = x z or x + z, of n numbers; a line of z for all rows where zs = 0."""
    x, xs, z, zs, y, ys = float32_at(code[1]), code[2], float32_at(code[3]), code[4], float32_at(code[5]), code[6]
    n, f, repeat = code[7], code[8], code[9]
    for b in range(first, last):
        at, za, to = b * xs, b * zs, b * ys
        if repeat > 1:
            for i in range(n):
                other = z[za + i // repeat]
                y[to + i] = x[at + i] * other if f == codes.TIMES else x[at + i] + other
        else:
            for i in range(0, n, 16):
                one, other = load(x, at + i), load(z, za + i)
                store(y, to + i, one * other if f == codes.TIMES else one + other)


@compiled
def product(code, rows, work, first, last):
    W, kind, N, K = code[1], code[2], code[3], code[4]
    x, xs, y, ys, bias = float32_at(code[5]), code[6], float32_at(code[7]), code[8], float32_at(code[9])
    sizes = (rows, K, N, xs, ys)
    if kind <= 8:
        packed(WAY, Packed(uint8_at(W), kind, code[10]), x, bias, code[9], y, (rows, K, xs, ys), first, last)
    elif kind == 16:
        dense(bfloat16_at(W), x, bias, code[9], y, work, sizes, first, last)
    else:
        dense(float32_at(W), x, bias, code[9], y, work, sizes, first, last)


@compiled
def rotate(code, positions, first, last):
    """Every head rotated by the angles of the position: halves are paired."""
    x, xs, y, ys, heads, D = float32_at(code[1]), code[2], float32_at(code[3]), code[4], code[5], code[6]
    cos, sin, half = float32_at(code[7]), float32_at(code[8]), code[6] // 2
    for b in range(first, last):
        angle = positions[b] * half
        for h in range(heads):
            at, to = b * xs + h * D, b * ys + h * D
            for i in range(half):
                left, right, c, s = x[at + i], x[at + half + i], cos[angle + i], sin[angle + i]
                y[to + i] = left * c - right * s
                y[to + half + i] = right * c + left * s


@compiled
def run(program, consts, tokens, positions, rows, many, none, arrived, thread, threads):
    """The whole program, by one of its threads; tokens and positions of `rows` times `many` lines."""
    work, passed, lines = aligned_zeros(4 * 256, consts), 0, rows * many
    for i in range(program.shape[0]):
        code = program[i]
        op, tasks = code[0], code[codes.WIDTH - 1] if code[0] == codes.PRODUCT else code[codes.WIDTH - 1] * rows
        shared = tasks > 0 or lines > 1
        first, last = part(tasks if tasks else lines, thread, threads) if shared else (0, lines)
        if op == codes.PRODUCT:
            product(code, lines, work, first, last)
        elif op == codes.NORM:
            norm(code, consts, first, last)
        elif op == codes.JOIN:
            join(code, first, last)
        elif op == codes.MAP:
            apply(code, consts, first, last)
        elif op == codes.ATTEND:
            if code[21] == 8:
                softmax.instruction(code, consts, positions, int8_at(code[9]), int8_at(code[10]), many, first, last)
            elif code[21] == 16:
                softmax.instruction(
                    code, consts, positions, bfloat16_at(code[9]), bfloat16_at(code[10]), many, first, last
                )
            else:
                softmax.instruction(
                    code, consts, positions, float32_at(code[9]), float32_at(code[10]), many, first, last
                )
        elif op == codes.EMBED:
            embed(code, tokens, first, last)
        elif op == codes.ROTATE:
            rotate(code, positions, first, last)
        elif op == codes.PLACE:
            lookup(code, positions, first, last)
        elif op == codes.MEAN:
            mean(code, consts, first, last)
        elif op == codes.FILTER:
            conv.instruction(code, many, first, last)
        elif op == codes.DECAYED:
            decayed.instruction(code, none, many, first, last)
        elif op == codes.DELTA:
            delta.instruction(code, none, many, first, last)
        elif op == codes.SELECTIVE:
            selective.instruction(code, none, many, first, last)
        else:
            diagonal.instruction(code, none, many, first, last)
        if shared:
            passed += 1
            barrier(arrived, threads, passed)
