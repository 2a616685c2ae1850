"""A token through a whole model in one call, or a few: a list of instructions, read by every thread, side by side.

An instruction is a line of WIDTH integers: what to do, addresses, sizes, places of constants, and last how many tasks
of a row (of all, for a product) are shared out. Vectors are float32, one line a token, those of a row of the batch one
behind the other, each line of whole vectors. No result is written over, so what is small is done by every thread (all
write the same numbers) unless there are several tokens, and only what is shared out ends with a meeting of the threads.

    EMBED    y = table[token]
    PLACE    y = table[p]
    NORM     y = g x / sqrt(mean(x^2) + eps), heads by themselves; or centred first, with b
    PRODUCT  y = W x (+ b)                                                   shared out by rows of W
    MAP      y = scale f(x) + shift, element by element
    TURN     y = x, every head turned by the angles of p
    JOIN     y = x z or x + z, element by element; every z for `repeat` of x
    MEAN     y = a times the sum of every D of x
    ATTEND   remember, weigh                                                 shared out by key heads
    FILTER, DECAYED, DELTA, SELECTIVE, DIAGONAL: a scan of one token         shared out by heads or channels

p is the position of a token: how many there were before in its row. States are written in place. What a token gives is
the same to the last bit however many come with it.
"""

import math

import numpy as np

from . import decayed, delta, diagonal, selective
from ._compile import aligned, clear, compiled, unset
from ._lanes import exponential, fetch, full, highest, larger, load, put, splat, store, total
from ._machine import floats, halves, meet, octets, signed
from .product import SOON, dense
from .weights import WAY, unpack
from .weights import product as packed

EMBED, NORM, PRODUCT, MAP, JOIN, TURN, ATTEND, FILTER, DECAYED, DELTA, SELECTIVE, DIAGONAL, MEAN, PLACE = range(14)
WIDTH = 23  # integers of an instruction
BLOCK = 64  # slots of keys that lie together
SAME, SILU, GELU, RELU, SQUARED, SIGMOID, SOFTPLUS, LOG, EXP, EXPM1, RSQRT = range(11)
TIMES, PLUS = range(2)
NONE = np.empty((0, 0), np.uint8)  # no resets


@compiled
def part(n, thread, threads):
    """This thread's share of n tasks."""
    return n * thread // threads, n * (thread + 1) // threads


@compiled
def embed(line, tokens, first, last):
    table, bits, D, y, ys = line[1], line[2], line[3], floats(line[4]), line[5]
    words, numbers = halves(table), floats(table)
    row = aligned(D + 64, y)
    for b in range(first, last):
        at, begin = row, 0
        if bits <= 8:
            unpack(octets(table), bits, line[6], D + -D % line[6], tokens[b], row)
        elif bits == 32:
            at, begin = numbers, tokens[b] * D
        for i in range(0, D, 16):
            store(y, b * ys + i, load(words, tokens[b] * D + i) if bits == 16 else load(at, begin + i))


@compiled
def lookup(line, positions, first, last):
    """A line of a table of positions."""
    table, y, ys, n = floats(line[1]), floats(line[2]), line[3], line[4]
    for b in range(first, last):
        for i in range(n):
            y[b * ys + i] = table[positions[b] * n + i]


@compiled
def mean(line, consts, first, last):
    """Sums of D neighbours, times a constant."""
    x, xs, y, ys, heads, D = floats(line[1]), line[2], floats(line[3]), line[4], line[5], line[6]
    for b in range(first, last):
        for h in range(heads):
            both = full(np.float32(0))
            for i in range(0, D, 16):
                both = both + load(x, b * xs + h * D + i)
            y[b * ys + h] = total(both) * consts[line[7]]


@compiled
def norm(line, consts, first, last):
    """`heads` of D numbers; a gain for one head, or `each` apart for all."""
    x, xs, y, ys, heads, D, each = floats(line[1]), line[2], floats(line[3]), line[4], line[5], line[6], line[7]
    gain, bias, eps, centred, n = floats(line[8]), floats(line[9]), consts[line[10]], line[11], np.float32(line[6])
    zero, one = np.float32(0), np.float32(1)
    for b in range(first, last):
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
    if code == EXPM1:
        return np.float32(math.expm1(x))
    if code == RSQRT:
        return np.float32(1) / np.float32(math.sqrt(x))
    return np.float32(math.log1p(math.exp(-abs(x)))) + max(x, np.float32(0))


@compiled
def apply(line, consts, first, last):
    """y = scale f(x) + shift, of n numbers."""
    x, xs, y, ys, n, code = floats(line[1]), line[2], floats(line[3]), line[4], line[5], line[6]
    scale, shift = consts[line[7]], consts[line[8]]
    for b in range(first, last):
        if code in (RELU, SQUARED, LOG, SOFTPLUS, EXPM1, RSQRT):
            for i in range(n):
                y[b * ys + i] = scale * curved(code, x[b * xs + i]) + shift
        else:
            for i in range(0, n, 16):
                store(y, b * ys + i, full(scale) * bent(code, load(x, b * xs + i)) + full(shift))


@compiled
def join(line, first, last):
    """y = x z or x + z, of n numbers; a line of z for all rows where zs = 0."""
    x, xs, z, zs, y, ys = floats(line[1]), line[2], floats(line[3]), line[4], floats(line[5]), line[6]
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
    x, xs, y, ys, bias = floats(line[5]), line[6], floats(line[7]), line[8], floats(line[9])
    sizes = (rows, K, N, xs, ys)
    if kind <= 8:
        packed(WAY, octets(W), kind, line[10], x, bias, line[9], y, (rows, K, xs, ys), first, last)
    elif kind == 16:
        dense(halves(W), x, bias, line[9], y, room, sizes, first, last)
    else:
        dense(floats(W), x, bias, line[9], y, room, sizes, first, last)


@compiled
def turn(line, positions, first, last):
    """Every head turned by the angles of the position: halves are paired."""
    x, xs, y, ys, heads, D = floats(line[1]), line[2], floats(line[3]), line[4], line[5], line[6]
    cos, sin, half = floats(line[7]), floats(line[8]), line[6] // 2
    for b in range(first, last):
        angle = positions[b] * half
        for h in range(heads):
            at, to = b * xs + h * D, b * ys + h * D
            for i in range(half):
                left, right, c, s = x[at + i], x[at + half + i], cos[angle + i], sin[angle + i]
                y[to + i] = left * c - right * s
                y[to + half + i] = right * c + left * s


@compiled
def enter(x, at, n, into, to, step, scales, place, coded):
    """n numbers of a token, `step` apart; as codes, with one scale for all, where they are kept in 8 bits."""
    scale = np.float32(0)
    if coded:
        for i in range(n):
            scale = max(scale, abs(x[at + i]))
        scale = scale / np.float32(127)
        scales[place] = scale
    back = np.float32(1) / scale if scale > 0 else np.float32(0)
    for i in range(n):
        put(into, to + i * step, np.float32(np.rint(x[at + i] * back)) if coded else x[at + i])


@compiled
def hidden(s, p, window, sinks):
    """Whether nobody sees the block of slots from s on."""
    return window > 0 and s >= sinks and s + BLOCK <= p + 1 - window


@compiled
def meet_keys(ask, r, keys, at, scores, to, D):
    """A query's products with a block of keys; the first one asks for what comes next."""
    a0 = a1 = a2 = a3 = full(np.float32(0))
    lines = BLOCK if r == 0 else 0
    for d in range(D):
        here, x = at + d * BLOCK, splat(ask, r * D + d)
        for i in range(0, lines, 64 // keys.itemsize):
            fetch(keys, here + SOON // keys.itemsize + i)
        a0, a1 = a0 + x * load(keys, here), a1 + x * load(keys, here + 16)
        a2, a3 = a2 + x * load(keys, here + 32), a3 + x * load(keys, here + 48)
    store(scores, to, a0)
    store(scores, to + 16, a1)
    store(scores, to + 32, a2)
    store(scores, to + 48, a3)


@compiled
def weigh(scores, at, p, window, sinks, scales, sa, coded):
    """The exponentials of a query's scores, for codes with the values' scales; gives one over their sum."""
    most, both = full(np.float32(-np.inf)), full(np.float32(0))
    for s in range(0, p + 1, 16):
        if not hidden(s // BLOCK * BLOCK, p, window, sinks):
            most = larger(most, load(scores, at + s))
    low = full(highest(most))
    for s in range(0, p + 1, 16):
        if not hidden(s // BLOCK * BLOCK, p, window, sinks):
            weight = exponential(load(scores, at + s) - low)
            both = both + weight
            store(scores, at + s, weight * load(scales, sa + s) if coded else weight)
    return np.float32(1) / total(both)


@compiled
def add_values(scores, at, values, va, y, to, n, V, first):
    """y += n weighted values, a multiple of four; the first one asks for the next block's."""
    for j in range(0, V, 16):
        a0, a1 = load(y, to + j), full(np.float32(0))
        a2 = a3 = a1
        lines = 4 if first and j * values.itemsize % 64 == 0 else 0
        for i in range(0, n, 4):
            here, w = va + i * V + j, at + i
            for c in range(lines):
                fetch(values, here + (BLOCK + c) * V)
            a0, a1 = a0 + splat(scores, w) * load(values, here), a1 + splat(scores, w + 1) * load(values, here + V)
            a2 = a2 + splat(scores, w + 2) * load(values, here + 2 * V)
            a3 = a3 + splat(scores, w + 3) * load(values, here + 3 * V)
        store(y, to + j, (a0 + a1) + (a2 + a3))


@compiled
def attend(line, consts, positions, keys, values, many, first, last):
    """Tasks are rows and key heads; of each of a row's tokens, one after the other, several queries, for which a block
    of slots is read once.

    Keys (rows,G,S/64,D,64), so that scores are vectors over slots; values (rows,G,S,V). In 8 bits they come with scales
    (rows,G,2,S), of the keys and of the values.
    """
    q, qs, k, ks, v, vs = floats(line[1]), line[2], floats(line[3]), line[4], floats(line[5]), line[6]
    y, ys, S, G, scales, coded = floats(line[7]), line[8], line[11], line[12], floats(line[20]), line[20] != 0
    R, D, V = line[13], line[14], line[15]
    bias, window, sinks, scale = floats(line[16]), line[17], line[18], consts[line[19]]
    ask, scores = unset(R * D, y), unset(R * S, y)
    for turn in range(first * many, last * many):
        task, b = turn // many, turn // many // G * many + turn % many
        g = task % G
        p, ka, va, sa, h0 = positions[b], task * D * S, task * S * V, task * 2 * S, g * R
        enter(k, b * ks + g * D, D, keys, ka + p // BLOCK * BLOCK * D + p % BLOCK, BLOCK, scales, sa + p, coded)
        enter(v, b * vs + g * V, V, values, va + p * V, 1, scales, sa + S + p, coded)
        for i in range(R * D):
            ask[i] = q[b * qs + h0 * D + i] * scale
        for s in range(0, p + 1, BLOCK):
            edge = s + BLOCK > p + 1 or (window > 0 and s <= p - window)  # some of it is not seen
            for r in range(0 if hidden(s, p, window, sinks) else R):
                to = r * S + s
                meet_keys(ask, r, keys, ka + s * D, scores, to, D)
                for i in range(0, BLOCK if coded else 0, 16):
                    store(scores, to + i, load(scores, to + i) * load(scales, sa + s + i))
                for i in range(min(BLOCK, p + 1 - s) if line[16] else 0):
                    scores[to + i] += bias[(h0 + r) * S + p - s - i]
                for i in range(s, s + (BLOCK if edge else 0)):
                    if i > p or (window > 0 and sinks <= i <= p - window):
                        scores[r * S + i] = -np.inf
        for r in range(R):
            ask[r] = weigh(scores, r * S, p, window, sinks, scales, sa + S, coded)
            clear(y, b * ys + (h0 + r) * V, V)
        for s in range(0, p + 1, BLOCK):
            n = min(BLOCK, p // 4 * 4 + 4 - s)  # behind p the weights are 0
            for r in range(0 if hidden(s, p, window, sinks) else R):
                add_values(scores, r * S + s, values, va + s * V, y, b * ys + (h0 + r) * V, n, V, r == 0)
        for r in range(R):
            share, to = full(ask[r]), b * ys + (h0 + r) * V
            for j in range(0, V, 16):
                store(y, to + j, load(y, to + j) * share)


@compiled
def filtered(line, many, first, last):
    """The short filter, token by token; tasks are rows and vectors of channels. The tail (rows,W-1,C) moves on."""
    x, xs, y, ys, tail, taps = floats(line[1]), line[2], floats(line[3]), line[4], floats(line[5]), floats(line[6])
    bias, C, W, silu = floats(line[7]), line[8], line[9], line[10]
    vectors = C // 16
    for turn in range(first * many, last * many):
        row, c = turn // many // vectors, turn // many % vectors * 16
        b = row * many + turn % many
        here, ta = load(x, b * xs + c), row * (W - 1) * C + c
        out = load(bias, c) + here * load(taps, c)  # the token's own tap first
        for d in range(1, W):
            out = out + load(tail, ta + (W - 1 - d) * C) * load(taps, d * C + c)
        for d in range(W - 2):
            store(tail, ta + d * C, load(tail, ta + (d + 1) * C))
        if W > 1:
            store(tail, ta + (W - 2) * C, here)
        store(y, b * ys + c, bent(SILU, out) if silu else out)


@compiled
def decay(line, none, many, first, last):
    q, qs, k, ks, v, vs = floats(line[1]), line[2], floats(line[3]), line[4], floats(line[5]), line[6]
    g, gs, y, S = floats(line[7]), line[8], floats(line[9]), floats(line[10])
    H, G, K, V, W = line[11], line[12], line[13], line[14], line[15]
    strides = ((many * qs, qs, K), (many * ks, ks, K), (many * vs, vs, V), (many * gs, gs, W))
    decayed.forward(q, k, v, g, none, S, y, S, (many, H, G, K, V, W), strides, first, last)


@compiled
def renew(line, none, many, first, last):
    q, qs, k, ks, v, vs = floats(line[1]), line[2], floats(line[3]), line[4], floats(line[5]), line[6]
    beta, bs, g, gs, y, S = floats(line[7]), line[8], floats(line[9]), line[10], floats(line[11]), floats(line[12])
    H, K, V, empty = line[13], line[14], line[15], floats(0)[:0]
    strides = ((many * qs, qs, K), (many * ks, ks, K), (many * vs, vs, V), (many * bs, bs, 1), (many * gs, gs, 1))
    fades = g if line[9] else empty
    delta.forward(q, k, v, beta, fades, none, S, y, S, empty, (many, H, K, V), strides, first, last)


@compiled
def select(line, none, many, first, last):
    x, xs, dt, ds, A, y = floats(line[1]), line[2], floats(line[3]), line[4], floats(line[5]), floats(line[6])
    B, bs, C, cs, h, E, N = floats(line[7]), line[8], floats(line[9]), line[10], floats(line[11]), line[12], line[13]
    strides = ((many * xs, xs), (many * ds, ds), (many * bs, bs), (many * cs, cs))
    selective.forward(x, dt, A, B, C, none, h, y, h, floats(0)[:0], (many, E, N), strides, first, last)


@compiled
def fade(line, none, many, first, last):
    x, xs, g, gs = floats(line[1]), line[2], floats(line[3]), line[4]
    y, h, E = floats(line[5]), floats(line[6]), line[7]
    diagonal.forward(x, g, none, h, y, h, (many, E), ((many * xs, xs), (many * gs, gs)), first, last)


@compiled
def play(tape, consts, tokens, positions, rows, many, none, arrived, thread, threads):
    """The whole tape, by one of its threads; tokens and positions of `rows` times `many` lines."""
    room, met, lines = aligned(4 * 256, consts), 0, rows * many
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
                attend(line, consts, positions, signed(line[9]), signed(line[10]), many, first, last)
            elif line[21] == 16:
                attend(line, consts, positions, halves(line[9]), halves(line[10]), many, first, last)
            else:
                attend(line, consts, positions, floats(line[9]), floats(line[10]), many, first, last)
        elif op == EMBED:
            embed(line, tokens, first, last)
        elif op == TURN:
            turn(line, positions, first, last)
        elif op == PLACE:
            lookup(line, positions, first, last)
        elif op == MEAN:
            mean(line, consts, first, last)
        elif op == FILTER:
            filtered(line, many, first, last)
        elif op == DECAYED:
            decay(line, none, many, first, last)
        elif op == DELTA:
            renew(line, none, many, first, last)
        elif op == SELECTIVE:
            select(line, none, many, first, last)
        else:
            fade(line, none, many, first, last)
        if shared:
            met += 1
            meet(arrived, threads, met)
