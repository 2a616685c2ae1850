"""Attention of one token after another to what is remembered, as an instruction of a decode program.

Tasks are rows and key heads. Of a task's queries, several for a key head, all read a block of slots while it is near.
Keys and values are kept as float32, bfloat16, or in 8 bits (`coded`) with a scale for every key and every value.

p is a token's position and s a slot; r counts the R queries of a key head. `at` and `to`, and ka, va, sa: where scores,
results, a head's keys, its values and its scales begin; xs is how far apart the lines of x are.
"""

import numpy as np

from ..matrix.cpu import SOON
from ..program.codes import BLOCK
from ..toolkit.compile import aligned_empty, clear, compiled
from ..toolkit.lanes import exponential, full, load, maximum, prefetch, put, reduce_add, reduce_max, splat, store
from ..toolkit.machine import float32_at


@compiled
def append(x, at, n, into, to, step, scales, slot, coded):
    """n numbers of a token, `step` apart; as codes, with one scale for all, where they are kept in 8 bits."""
    scale = np.float32(0)
    if coded:
        for i in range(n):
            scale = max(scale, abs(x[at + i]))
        scale = scale / np.float32(127)
        scales[slot] = scale
    back = np.float32(1) / scale if scale > 0 else np.float32(0)
    for i in range(n):
        put(into, to + i * step, np.float32(np.rint(x[at + i] * back)) if coded else x[at + i])


@compiled
def is_hidden(s, p, window, sinks):
    """Whether nobody sees the block of slots from s on."""
    return window > 0 and s >= sinks and s + BLOCK <= p + 1 - window


@compiled
def add_scores(queries, r, keys, at, scores, to, D):
    """A query's products with a block of keys; the first one asks for what comes next."""
    a0 = a1 = a2 = a3 = full(np.float32(0))
    lines = BLOCK if r == 0 else 0
    for d in range(D):
        here, x = at + d * BLOCK, splat(queries, r * D + d)
        for i in range(0, lines, 64 // keys.itemsize):
            prefetch(keys, here + SOON // keys.itemsize + i)
        a0, a1 = a0 + x * load(keys, here), a1 + x * load(keys, here + 16)
        a2, a3 = a2 + x * load(keys, here + 32), a3 + x * load(keys, here + 48)
    store(scores, to, a0)
    store(scores, to + 16, a1)
    store(scores, to + 32, a2)
    store(scores, to + 48, a3)


@compiled
def softmax_weights(scores, at, p, window, sinks, scales, sa, coded):
    """The exponentials of a query's scores, for codes with the values' scales; gives one over their sum."""
    most, both = full(np.float32(-np.inf)), full(np.float32(0))
    for s in range(0, p + 1, 16):
        if not is_hidden(s // BLOCK * BLOCK, p, window, sinks):
            most = maximum(most, load(scores, at + s))
    low = full(reduce_max(most))
    for s in range(0, p + 1, 16):
        if not is_hidden(s // BLOCK * BLOCK, p, window, sinks):
            weight = exponential(load(scores, at + s) - low)
            both = both + weight
            store(scores, at + s, weight * load(scales, sa + s) if coded else weight)
    return np.float32(1) / reduce_add(both)


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
                prefetch(values, here + (BLOCK + c) * V)
            a0, a1 = a0 + splat(scores, w) * load(values, here), a1 + splat(scores, w + 1) * load(values, here + V)
            a2 = a2 + splat(scores, w + 2) * load(values, here + 2 * V)
            a3 = a3 + splat(scores, w + 3) * load(values, here + 3 * V)
        store(y, to + j, (a0 + a1) + (a2 + a3))


@compiled
def instruction(code, consts, positions, keys, values, many, first, last):
    """Tasks are rows and key heads; of each of a row's tokens, one after the other, several queries, for which a block
    of slots is read once.

    Keys (rows,G,S/64,D,64), so that scores are vectors over slots; values (rows,G,S,V). In 8 bits they come with scales
    (rows,G,2,S), of the keys and of the values.
    """
    q, qs, k, ks, v, vs = float32_at(code[1]), code[2], float32_at(code[3]), code[4], float32_at(code[5]), code[6]
    y, ys, S, G, scales, coded = float32_at(code[7]), code[8], code[11], code[12], float32_at(code[20]), code[20] != 0
    R, D, V = code[13], code[14], code[15]
    bias, window, sinks, scale = float32_at(code[16]), code[17], code[18], consts[code[19]]
    queries, scores = aligned_empty(R * D, y), aligned_empty(R * S, y)
    for unit in range(first * many, last * many):
        task, b = unit // many, unit // many // G * many + unit % many
        g = task % G
        p, ka, va, sa, h0 = positions[b], task * D * S, task * S * V, task * 2 * S, g * R
        append(k, b * ks + g * D, D, keys, ka + p // BLOCK * BLOCK * D + p % BLOCK, BLOCK, scales, sa + p, coded)
        append(v, b * vs + g * V, V, values, va + p * V, 1, scales, sa + S + p, coded)
        for i in range(R * D):
            queries[i] = q[b * qs + h0 * D + i] * scale
        for s in range(0, p + 1, BLOCK):
            edge = s + BLOCK > p + 1 or (window > 0 and s <= p - window)  # some of it is not seen
            for r in range(0 if is_hidden(s, p, window, sinks) else R):
                to = r * S + s
                add_scores(queries, r, keys, ka + s * D, scores, to, D)
                for i in range(0, BLOCK if coded else 0, 16):
                    store(scores, to + i, load(scores, to + i) * load(scales, sa + s + i))
                for i in range(min(BLOCK, p + 1 - s) if code[16] else 0):
                    scores[to + i] += bias[(h0 + r) * S + p - s - i]
                for i in range(s, s + (BLOCK if edge else 0)):
                    if i > p or (window > 0 and sinks <= i <= p - window):
                        scores[r * S + i] = -np.inf
        for r in range(R):
            queries[r] = softmax_weights(scores, r * S, p, window, sinks, scales, sa + S, coded)
            clear(y, b * ys + (h0 + r) * V, V)
        for s in range(0, p + 1, BLOCK):
            n = min(BLOCK, p // 4 * 4 + 4 - s)  # behind p the weights are 0
            for r in range(0 if is_hidden(s, p, window, sinks) else R):
                add_values(scores, r * S + s, values, va + s * V, y, b * ys + (h0 + r) * V, n, V, r == 0)
        for r in range(R):
            normaliser, to = full(queries[r]), b * ys + (h0 + r) * V
            for j in range(0, V, 16):
                store(y, to + j, load(y, to + j) * normaliser)
