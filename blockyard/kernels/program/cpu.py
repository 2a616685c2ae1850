"""A token through a whole model in one call, or a few: instructions, read by every thread, side by side.

No result is written over, so what is small is done by every thread (all write the same numbers) unless there are
several tokens, and only what is shared out ends with a barrier. What a token gives is the same to the
last bit however many come with it.
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
from .codes import (
    ATTEND,
    DECAYED,
    DELTA,
    EMBED,
    EXP,
    EXPM1,
    FILTER,
    GELU,
    JOIN,
    LOG,
    MAP,
    MEAN,
    NORM,
    PLACE,
    PRODUCT,
    RELU,
    ROTATE,
    RSQRT,
    SELECTIVE,
    SIGMOID,
    SILU,
    SOFTPLUS,
    SQUARED,
    TIMES,
    WIDTH,
)  # fmt: skip

NONE = np.empty((0, 0), np.uint8)  # no resets


@compiled
def part(n, thread, threads):
    """This thread's share of n tasks."""
    return n * thread // threads, n * (thread + 1) // threads


@compiled
def embed(line, tokens, first, last):
    table, bits, D, y, ys = line[1], line[2], line[3], float32_at(line[4]), line[5]
    words, numbers = bfloat16_at(table), float32_at(table)
    row = aligned_zeros(D + 64, y)
    for b in range(first, last):
        at, begin = row, 0
        if bits <= 8:
            unpack(uint8_at(table), bits, line[6], D + -D % line[6], tokens[b], row)
        elif bits == 32:
            at, begin = numbers, tokens[b] * D
        for i in range(0, D, 16):
            store(y, b * ys + i, load(words, tokens[b] * D + i) if bits == 16 else load(at, begin + i))


@compiled
def lookup(line, positions, first, last):
    """A line of a table of positions."""
    table, y, ys, n = float32_at(line[1]), float32_at(line[2]), line[3], line[4]
    for b in range(first, last):
        for i in range(n):
            y[b * ys + i] = table[positions[b] * n + i]


@compiled
def mean(line, consts, first, last):
    """Sums of D neighbours, times a constant."""
    x, xs, y, ys, heads, D = float32_at(line[1]), line[2], float32_at(line[3]), line[4], line[5], line[6]
    for b in range(first, last):
        for h in range(heads):
            both = full(np.float32(0))
            for i in range(0, D, 16):
                both = both + load(x, b * xs + h * D + i)
            y[b * ys + h] = reduce_add(both) * consts[line[7]]


@compiled
def norm(line, consts, first, last):
    """`heads` of D numbers; a gain for one head, or `each` apart for all."""
    x, xs, y, ys, heads, D, each = float32_at(line[1]), line[2], float32_at(line[3]), line[4], line[5], line[6], line[7]
    gain, bias, eps, centred, n = (
        float32_at(line[8]),
        float32_at(line[9]),
        consts[line[10]],
        line[11],
        np.float32(line[6]),
    )
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
                store(y, to + i, out + load(bias, i) if line[9] else out)


@compiled
def activate(code, x):
    """A function of a vector of numbers."""
    zero, one = full(np.float32(0)), full(np.float32(1))
    if code == SILU:
        return x / (one + exponential(zero - x))
    if code == SIGMOID:
        return one / (one + exponential(zero - x))
    if code == GELU:
        inner = full(np.float32(1.5957691216057308)) * (x + full(np.float32(0.044715)) * x * x * x)
        return x / (one + exponential(zero - inner))
    if code == EXP:
        return exponential(x)
    return x


@compiled
def activate_scalar(code, x):
    """A function of a number."""
    if code == RELU:
        return max(x, np.float32(0))
    if code == SQUARED:
        return max(x, np.float32(0)) ** 2
    if code == LOG:
        return np.float32(math.log(x))
    if code == EXPM1:
        return np.float32(math.expm1(x))
    if code == RSQRT:
        return np.float32(1) / np.float32(math.sqrt(x))
    return np.float32(math.log1p(math.exp(-abs(x)))) + max(x, np.float32(0))


@compiled
def apply(line, consts, first, last):
    """y = scale f(x) + shift, of n numbers."""
    x, xs, y, ys, n, code = float32_at(line[1]), line[2], float32_at(line[3]), line[4], line[5], line[6]
    scale, shift = consts[line[7]], consts[line[8]]
    for b in range(first, last):
        if code in (RELU, SQUARED, LOG, SOFTPLUS, EXPM1, RSQRT):
            for i in range(n):
                y[b * ys + i] = scale * activate_scalar(code, x[b * xs + i]) + shift
        else:
            for i in range(0, n, 16):
                store(y, b * ys + i, full(scale) * activate(code, load(x, b * xs + i)) + full(shift))


@compiled
def join(line, first, last):
    """y = x z or x + z, of n numbers; a line of z for all rows where zs = 0."""
    x, xs, z, zs, y, ys = float32_at(line[1]), line[2], float32_at(line[3]), line[4], float32_at(line[5]), line[6]
    n, code, repeat = line[7], line[8], line[9]
    for b in range(first, last):
        at, za, to = b * xs, b * zs, b * ys
        if repeat > 1:
            for i in range(n):
                other = z[za + i // repeat]
                y[to + i] = x[at + i] * other if code == TIMES else x[at + i] + other
        else:
            for i in range(0, n, 16):
                one, other = load(x, at + i), load(z, za + i)
                store(y, to + i, one * other if code == TIMES else one + other)


@compiled
def product(line, rows, room, first, last):
    W, kind, N, K = line[1], line[2], line[3], line[4]
    x, xs, y, ys, bias = float32_at(line[5]), line[6], float32_at(line[7]), line[8], float32_at(line[9])
    sizes = (rows, K, N, xs, ys)
    if kind <= 8:
        packed(WAY, Packed(uint8_at(W), kind, line[10]), x, bias, line[9], y, (rows, K, xs, ys), first, last)
    elif kind == 16:
        dense(bfloat16_at(W), x, bias, line[9], y, room, sizes, first, last)
    else:
        dense(float32_at(W), x, bias, line[9], y, room, sizes, first, last)


@compiled
def rotate(line, positions, first, last):
    """Every head rotated by the angles of the position: halves are paired."""
    x, xs, y, ys, heads, D = float32_at(line[1]), line[2], float32_at(line[3]), line[4], line[5], line[6]
    cos, sin, half = float32_at(line[7]), float32_at(line[8]), line[6] // 2
    for b in range(first, last):
        angle = positions[b] * half
        for h in range(heads):
            at, to = b * xs + h * D, b * ys + h * D
            for i in range(half):
                left, right, c, s = x[at + i], x[at + half + i], cos[angle + i], sin[angle + i]
                y[to + i] = left * c - right * s
                y[to + half + i] = right * c + left * s


@compiled
def play(tape, consts, tokens, positions, rows, many, none, arrived, thread, threads):
    """The whole tape, by one of its threads; tokens and positions of `rows` times `many` lines."""
    room, met, lines = aligned_zeros(4 * 256, consts), 0, rows * many
    for i in range(tape.shape[0]):
        line = tape[i]
        op, tasks = line[0], line[WIDTH - 1] if line[0] == PRODUCT else line[WIDTH - 1] * rows
        shared = tasks > 0 or lines > 1
        first, last = part(tasks if tasks else lines, thread, threads) if shared else (0, lines)
        if op == PRODUCT:
            product(line, lines, room, first, last)
        elif op == NORM:
            norm(line, consts, first, last)
        elif op == JOIN:
            join(line, first, last)
        elif op == MAP:
            apply(line, consts, first, last)
        elif op == ATTEND:
            if line[21] == 8:
                softmax.instruction(line, consts, positions, int8_at(line[9]), int8_at(line[10]), many, first, last)
            elif line[21] == 16:
                softmax.instruction(
                    line, consts, positions, bfloat16_at(line[9]), bfloat16_at(line[10]), many, first, last
                )
            else:
                softmax.instruction(
                    line, consts, positions, float32_at(line[9]), float32_at(line[10]), many, first, last
                )
        elif op == EMBED:
            embed(line, tokens, first, last)
        elif op == ROTATE:
            rotate(line, positions, first, last)
        elif op == PLACE:
            lookup(line, positions, first, last)
        elif op == MEAN:
            mean(line, consts, first, last)
        elif op == FILTER:
            conv.instruction(line, many, first, last)
        elif op == DECAYED:
            decayed.instruction(line, none, many, first, last)
        elif op == DELTA:
            delta.instruction(line, none, many, first, last)
        elif op == SELECTIVE:
            selective.instruction(line, none, many, first, last)
        else:
            diagonal.instruction(line, none, many, first, last)
        if shared:
            met += 1
            barrier(arrived, threads, met)
