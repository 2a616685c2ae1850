"""A token through a whole model in one call: a list of instructions, read by every thread, side by side.

An instruction is a line of WIDTH integers: what to do, addresses, sizes, places of constants, and last how many tasks
of a row (of all, for a product) are shared out. Vectors are
float32, one line a row of the batch, each line of whole vectors. No result is written over, so what is small is done
by every thread (all write the same numbers), and only what is shared out ends with a meeting of the threads.

    EMBED    y = table[token] (+ positions[p])
    NORM     y = g x / sqrt(mean(x^2) + eps), heads by themselves; or centred first, with b
    PRODUCT  y = W x (+ b) (+ r)                                             shared out by rows of W
    MAP      y = scale f(x) + shift, element by element
    TURN     y = x, every head turned by the angles of p
    JOIN     y = x z or x + z, element by element; every z for `repeat` of x
    ATTEND   turn, remember, weigh                                           shared out by key heads
    FILTER, DECAYED, DELTA, SELECTIVE, DIAGONAL: a scan of one token         shared out by heads or channels

p is the position of a row's token: how many there were before. States are written in place.
"""

import math

import numpy as np

from . import decayed, delta, diagonal, selective
from ._compile import aligned, compiled, copy
from ._lanes import exponential, full, load, splat, store, total
from ._machine import floats, halves, meet, octets
from .product import dense
from .weights import WAY, unpack
from .weights import product as packed

EMBED, NORM, PRODUCT, MAP, JOIN, TURN, ATTEND, FILTER, DECAYED, DELTA, SELECTIVE, DIAGONAL = range(12)
WIDTH = 24  # integers of an instruction
SAME, SILU, GELU, RELU, SQUARED, SIGMOID, SOFTPLUS, LOG, EXP = range(9)
TIMES, PLUS = range(2)
NONE = np.empty((0, 0), np.uint8)  # no resets


@compiled
def part(n, thread, threads):
    """This thread's share of n tasks."""
    return n * thread // threads, n * (thread + 1) // threads


@compiled
def embed(line, tokens, positions, rows):
    table, bits, D, y, ys, places = line[1], line[2], line[3], floats(line[4]), line[5], line[6]
    words, numbers, added, zero = halves(table), floats(table), floats(places), full(np.float32(0))
    row = aligned(D + 64, y)
    for b in range(rows):
        at, begin = row, 0
        if bits <= 8:
            unpack(octets(table), bits, line[7], D + -D % line[7], tokens[b], row)
        elif bits == 32:
            at, begin = numbers, tokens[b] * D
        for i in range(0, D, 16):
            more = load(added, positions[b] * D + i) if places else zero
            store(y, b * ys + i, (load(words, tokens[b] * D + i) if bits == 16 else load(at, begin + i)) + more)


@compiled
def norm(line, consts, rows):
    """`heads` of D numbers; a gain for one head, or `each` apart for all."""
    x, xs, y, ys, heads, D, each = floats(line[1]), line[2], floats(line[3]), line[4], line[5], line[6], line[7]
    gain, bias, eps, centred, n = floats(line[8]), floats(line[9]), consts[line[10]], line[11], np.float32(line[6])
    zero, one = np.float32(0), np.float32(1)
    for b in range(rows):
        for h in range(heads):
            at, to, middle = b * xs + h * D, b * ys + h * D, zero
            if centred:
                both = full(zero)
                for i in range(0, D, 16):
                    both = both + load(x, at + i)
                middle = total(both) / n
            centre, squares = full(middle), full(zero)
            for i in range(0, D, 16):
                away = load(x, at + i) - centre
                squares = squares + away * away
            scale = full(one / np.float32(math.sqrt(total(squares) / n + eps)))
            for i in range(0, D, 16):
                out = (load(x, at + i) - centre) * scale * load(gain, h * each + i)
                store(y, to + i, out + load(bias, i) if line[9] else out)


@compiled
def bent(code, x):
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
def curved(code, x):
    """A function of a number."""
    if code == RELU:
        return max(x, np.float32(0))
    if code == SQUARED:
        return max(x, np.float32(0)) ** 2
    if code == LOG:
        return np.float32(math.log(x))
    return np.float32(math.log1p(math.exp(-abs(x)))) + max(x, np.float32(0))


@compiled
def apply(line, consts, rows):
    """y = scale f(x) + shift, of n numbers."""
    x, xs, y, ys, n, code = floats(line[1]), line[2], floats(line[3]), line[4], line[5], line[6]
    scale, shift = consts[line[7]], consts[line[8]]
    for b in range(rows):
        if code in (RELU, SQUARED, LOG, SOFTPLUS):
            for i in range(n):
                y[b * ys + i] = scale * curved(code, x[b * xs + i]) + shift
        else:
            for i in range(0, n, 16):
                store(y, b * ys + i, full(scale) * bent(code, load(x, b * xs + i)) + full(shift))


@compiled
def join(line, rows):
    """y = x z or x + z, of n numbers; a line of z for all rows where zs = 0."""
    x, xs, z, zs, y, ys = floats(line[1]), line[2], floats(line[3]), line[4], floats(line[5]), line[6]
    n, code, repeat = line[7], line[8], line[9]
    for b in range(rows):
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
    x, xs, y, ys, add, bias = floats(line[5]), line[6], floats(line[7]), line[8], floats(line[9]), floats(line[10])
    sizes = (rows, K, N, xs, ys)
    if kind <= 8:
        packed(WAY, octets(W), kind, line[11], x, bias, line[10], add, line[9], y, (rows, K, xs, ys), first, last)
    elif kind == 16:
        dense(halves(W), x, bias, line[10], add, line[9], y, room, sizes, first, last)
    else:
        dense(floats(W), x, bias, line[10], add, line[9], y, room, sizes, first, last)


@compiled
def turned(x, at, into, to, step, cos, sin, ca, D, turns, scale):
    """x of one head, turned, `step` numbers apart from one to the next."""
    half = D // 2
    for i in range(half):
        a, b = x[at + i] * scale, x[at + half + i] * scale
        if turns:
            c, s = cos[ca + i], sin[ca + i]
            a, b = a * c - b * s, b * c + a * s
        into[to + i * step] = a
        into[to + (half + i) * step] = b


@compiled
def turn(line, positions, rows):
    x, xs, y, ys, heads, D = floats(line[1]), line[2], floats(line[3]), line[4], line[5], line[6]
    cos, sin = floats(line[7]), floats(line[8])
    for b in range(rows):
        for h in range(heads):
            turned(x, b * xs + h * D, y, b * ys + h * D, 1, cos, sin, positions[b] * (D // 2), D, 1, np.float32(1))


@compiled
def attend(line, consts, positions, first, last):
    """Tasks are rows and key heads. Keys (rows,G,D,S), so that scores are vectors over S; values (rows,G,S,V)."""
    q, qs, k, ks, v, vs = floats(line[1]), line[2], floats(line[3]), line[4], floats(line[5]), line[6]
    y, ys, keys, values, S, G = floats(line[7]), line[8], floats(line[9]), floats(line[10]), line[11], line[12]
    R, D, V, cos, sin, turns = line[13], line[14], line[15], floats(line[16]), floats(line[17]), line[16]
    bias, window, sinks, scale = floats(line[18]), line[19], line[20], consts[line[21]]
    ask, scores, zero, one = aligned(D, y), aligned(S + 64, y), full(np.float32(0)), np.float32(1)
    for task in range(first, last):
        b, g = task // G, task % G
        p, ka, va = positions[b], task * D * S, task * S * V
        turned(k, b * ks + g * D, keys, ka + p, S, cos, sin, p * (D // 2), D, turns, one)
        copy(v, b * vs + g * V, values, va + p * V, V)
        for r in range(R):
            h = g * R + r
            turned(q, b * qs + h * D, ask, 0, 1, cos, sin, p * (D // 2), D, turns, scale)
            for s in range(0, p + 1, 64):
                a0 = a1 = a2 = a3 = zero
                for d in range(D):
                    at, x = ka + d * S + s, splat(ask, d)
                    a0, a1 = a0 + x * load(keys, at), a1 + x * load(keys, at + 16)
                    a2, a3 = a2 + x * load(keys, at + 32), a3 + x * load(keys, at + 48)
                store(scores, s, a0)
                store(scores, s + 16, a1)
                store(scores, s + 32, a2)
                store(scores, s + 48, a3)
            if line[18]:
                for s in range(p + 1):
                    scores[s] += bias[h * S + p - s]
            if window:
                for s in range(sinks, p + 1 - window):
                    scores[s] = -np.inf
            most = scores[0]
            for s in range(p + 1):
                most = max(most, scores[s])
            for s in range(p + 1, p + 17):
                scores[s] = -np.inf
            low, both = full(most), zero
            for s in range(0, p + 1, 16):
                weight = exponential(load(scores, s) - low)
                store(scores, s, weight)
                both = both + weight
            share = full(one / total(both))
            for j in range(0, V, 16):
                a0 = a1 = a2 = a3 = zero
                s = 0
                while s + 4 <= p + 1:
                    at = va + s * V + j
                    a0, a1 = a0 + splat(scores, s) * load(values, at), a1 + splat(scores, s + 1) * load(values, at + V)
                    a2 = a2 + splat(scores, s + 2) * load(values, at + 2 * V)
                    a3 = a3 + splat(scores, s + 3) * load(values, at + 3 * V)
                    s += 4
                while s < p + 1:
                    a0 = a0 + splat(scores, s) * load(values, va + s * V + j)
                    s += 1
                store(y, b * ys + h * V + j, ((a0 + a1) + (a2 + a3)) * share)


@compiled
def filtered(line, first, last):
    """The short filter of one token; tasks are rows and vectors of channels. The tail (rows,W-1,C) moves on."""
    x, xs, y, ys, tail, taps = floats(line[1]), line[2], floats(line[3]), line[4], floats(line[5]), floats(line[6])
    bias, C, W, silu = floats(line[7]), line[8], line[9], line[10]
    vectors = C // 16
    for task in range(first, last):
        b, c = task // vectors, task % vectors * 16
        here, ta = load(x, b * xs + c), b * (W - 1) * C + c
        out = load(bias, c) + here * load(taps, c)  # the token's own tap first
        for d in range(1, W):
            out = out + load(tail, ta + (W - 1 - d) * C) * load(taps, d * C + c)
        for d in range(W - 2):
            store(tail, ta + d * C, load(tail, ta + (d + 1) * C))
        if W > 1:
            store(tail, ta + (W - 2) * C, here)
        store(y, b * ys + c, bent(SILU, out) if silu else out)


@compiled
def decay(line, none, first, last):
    q, qs, k, ks, v, vs = floats(line[1]), line[2], floats(line[3]), line[4], floats(line[5]), line[6]
    g, gs, y, S = floats(line[7]), line[8], floats(line[9]), floats(line[10])
    H, G, K, V, W = line[11], line[12], line[13], line[14], line[15]
    strides = ((qs, 0, K), (ks, 0, K), (vs, 0, V), (gs, 0, W))
    decayed.forward(q, k, v, g, none, S, y, S, floats(0)[:0], (1, H, G, K, V, W), strides, first, last)


@compiled
def renew(line, none, first, last):
    q, qs, k, ks, v, vs = floats(line[1]), line[2], floats(line[3]), line[4], floats(line[5]), line[6]
    beta, bs, g, gs, y, S = floats(line[7]), line[8], floats(line[9]), line[10], floats(line[11]), floats(line[12])
    H, K, V, empty = line[13], line[14], line[15], floats(0)[:0]
    strides = ((qs, 0, K), (ks, 0, K), (vs, 0, V), (bs, 0, 1), (gs, 0, 1))
    fades = g if line[9] else empty
    delta.forward(q, k, v, beta, fades, none, S, y, S, empty, empty, (1, H, K, V), strides, first, last)


@compiled
def select(line, none, first, last):
    x, xs, dt, ds, A, y = floats(line[1]), line[2], floats(line[3]), line[4], floats(line[5]), floats(line[6])
    B, bs, C, cs, h, E, N = floats(line[7]), line[8], floats(line[9]), line[10], floats(line[11]), line[12], line[13]
    strides = ((xs, 0), (ds, 0), (bs, 0), (cs, 0))
    selective.forward(x, dt, A, B, C, none, h, y, h, floats(0)[:0], (1, E, N), strides, first, last)


@compiled
def fade(line, none, first, last):
    x, xs, g, gs, y, h, E = (
        floats(line[1]),
        line[2],
        floats(line[3]),
        line[4],
        floats(line[5]),
        floats(line[6]),
        line[7],
    )
    diagonal.forward(x, g, none, h, y, h, (1, E), ((xs, 0), (gs, 0)), first, last)


@compiled
def play(tape, consts, tokens, positions, rows, none, arrived, thread, threads):
    """The whole tape, by one of its threads."""
    room, met = aligned(4 * 256, consts), 0
    for i in range(tape.shape[0]):
        line = tape[i]
        op, tasks = line[0], line[WIDTH - 1] if line[0] == PRODUCT else line[WIDTH - 1] * rows
        first, last = part(tasks, thread, threads)
        if op == PRODUCT:
            product(line, rows, room, first, last)
        elif op == NORM:
            norm(line, consts, rows)
        elif op == JOIN:
            join(line, rows)
        elif op == MAP:
            apply(line, consts, rows)
        elif op == ATTEND:
            attend(line, consts, positions, first, last)
        elif op == EMBED:
            embed(line, tokens, positions, rows)
        elif op == TURN:
            turn(line, positions, rows)
        elif op == FILTER:
            filtered(line, first, last)
        elif op == DECAYED:
            decay(line, none, first, last)
        elif op == DELTA:
            renew(line, none, first, last)
        elif op == SELECTIVE:
            select(line, none, first, last)
        else:
            fade(line, none, first, last)
        if tasks:
            met += 1
            meet(arrived, threads, met)
