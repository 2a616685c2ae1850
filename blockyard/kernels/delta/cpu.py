"""The scan of the delta rule, token by token.

Forward goes once through the state (K,V) for every token: what the token before wrote is added while what this token's
key and query find is summed. With e_t = v_t - a_t S_{t-1}^T k_t and u_t = beta_t e_t:

    S_t = a_t S_{t-1} + k_t u_t^T        y_t = a_t S_{t-1}^T q_t + (k_t . q_t) u_t

Backward goes through the tokens twice, some columns of V at a time, with the state as (V,K): once from the end, with
dS the gradient of S_t, the token's own reading included, and once from the beginning, with S itself and forward's e.
With w_t = beta_t dS_t^T k_t:

    dS_t = a_{t+1} (dS_{t+1} - k_{t+1} w_{t+1}^T) + q_t dy_t^T        dv_t = w_t        dbeta_t = e_t . dS_t^T k_t
    dk_t = dS_t u_t - a_t S_{t-1} w_t                                 dq_t = S_t dy_t

The log-decays' gradients follow without a look at a state: what S_t and the gradient G_t that reaches it from later
tokens have in common, sum(S_t * G_t), is dg_{t+1}, and a token changes it by what it reads and erases of earlier ones
and what later ones read of it:

    dg_t = dg_{t+1} + q_t . a_t S_{t-1} dy_t - k_t . a_t S_{t-1} w_t - k_t . G_t u_t

What a token reads of itself is not there: under hard gates nothing but its rounding would be left. For the same reason
the last token begins with what is left of the state before it, in place of dg_{t+1} and of k_t . G_t u_t.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..toolkit.arrays import fits, flat, line, marks, read, whole
from ..toolkit.autograd import Form, Given, run
from ..toolkit.chunks import wide
from ..toolkit.compile import AHEAD, ahead, aligned, clear, compiled, copy, place
from ..toolkit.lanes import PAD, exponential, full, load, splat, store, sums, total
from ..toolkit.machine import floats
from ..toolkit.parallel import share
from ..toolkit.slab import collect, columns, met, product, spot, turned
from .chunked import delta_scan_chunked


@compiled
def step(S, a, w, wa, u, k, ka, q, qa, found, read, K, V):
    """S = a S + w u^T, found = S^T k, read = S^T q. Two vectors of V at once: their sums wait less for one another."""
    n, j, zero, fade = len(load(u, 0)), 0, full(u.dtype.type(0)), full(a)
    while j + 2 * n <= V:
        u0, u1 = load(u, j), load(u, j + n)
        f0 = f1 = r0 = r1 = zero
        for i in range(K):
            at, write, key, ask = i * V + j, splat(w, wa + i), splat(k, ka + i), splat(q, qa + i)
            s0, s1 = fade * load(S, at) + write * u0, fade * load(S, at + n) + write * u1
            store(S, at, s0)
            store(S, at + n, s1)
            f0, f1, r0, r1 = f0 + key * s0, f1 + key * s1, r0 + ask * s0, r1 + ask * s1
        store(found, j, f0)
        store(found, j + n, f1)
        store(read, j, r0)
        store(read, j + n, r1)
        j += 2 * n
    while j < V:
        x, f, r = load(u, j), zero, zero
        for i in range(K):
            s = fade * load(S, i * V + j) + splat(w, wa + i) * x
            store(S, i * V + j, s)
            f, r = f + splat(k, ka + i) * s, r + splat(q, qa + i) * s
        store(found, j, f)
        store(read, j, r)
        j += n


@compiled
def answer(a, beta, k, ka, q, qa, v, va, found, read, e, ea, u, y, ya, K, V):
    """The rest of a token: what is written, and the answer with it."""
    both, fade, rate, n = full(u.dtype.type(0)), full(a), full(beta), len(load(u, 0))
    for i in range(0, K, n):
        both = both + load(k, ka + i) * load(q, qa + i)
    both = full(total(both))
    for j in range(0, V, n):
        error = load(v, va + j) - fade * load(found, j)
        write = rate * error
        store(e, ea + j, error)
        store(u, j, write)
        store(y, ya + j, fade * load(read, j) + both * write)


@compiled
def forward(q, k, v, beta, g, reset, start, y, final, errors, sizes, strides, first, last):
    """y (B,T,H,V), start and final (B,H,K,V), errors (B,T,H,V) or nothing."""
    T, H, K, V = sizes
    sq, sk, sv, sb, sg = strides
    one, size = start.dtype.type(1), K * V
    S, found, answers = aligned(size, start), aligned(V, start), aligned(V, start)
    u, error = aligned(V, start), aligned(V, start)
    for task in range(first, last):
        b, h = task // H, task % H
        copy(start, task * size, S, 0, size)
        clear(u, 0, V)
        fade, before = one, place(sk, b, 0, h)  # with u, the write that is still to be done
        for t in range(T):
            if reset.size and reset[b, t]:
                clear(S, 0, size)
                clear(u, 0, V)
            ka, qa, here = place(sk, b, t, h), place(sq, b, t, h), ((b * T + t) * H + h) * V
            step(S, fade, k, before, u, k, ka, q, qa, found, answers, K, V)
            fade = exponential(g[place(sg, b, t, h)]) if g.size else one
            e, ea = (errors, here) if errors.size else (error, 0)
            rate = beta[place(sb, b, t, h)]
            answer(fade, rate, k, ka, q, qa, v, place(sv, b, t, h), found, answers, e, ea, u, y, here, K, V)
            before = ka
        step(S, fade, k, before, u, k, before, k, before, found, answers, K, V)
        copy(S, 0, final, task * size, size)


@compiled
def unwind(dS, a, before, ba, w, q, qa, k, ka, e, ea, beta, dy, ga, dk, to, K, N, room, new):
    """dS = G + q dy^T, G = a (dS - k w^T), a, k and w of the token after; dk += beta dS e; the room: N sums dS^T k.

    Gives beta k . G e.
    """
    n, zero, fade, rate = len(load(k, ka)), full(dS.dtype.type(0)), full(a), full(beta)
    less, i, along, own = zero - fade, 0, zero, met(dS, e, ea, dy, ga, N)
    while i + 4 * n <= K:
        m0, m1 = less * load(before, ba + i), less * load(before, ba + i + n)
        m2, m3 = less * load(before, ba + i + 2 * n), less * load(before, ba + i + 3 * n)
        k0, k1, k2, k3 = load(k, ka + i), load(k, ka + i + n), load(k, ka + i + 2 * n), load(k, ka + i + 3 * n)
        q0, q1, q2, q3 = load(q, qa + i), load(q, qa + i + n), load(q, qa + i + 2 * n), load(q, qa + i + 3 * n)
        t0 = t1 = t2 = t3 = zero
        for j in range(N):
            at, grad, x, lost = i * N + j * 4 * n, splat(dy, ga + j), splat(e, ea + j), splat(w, j)
            d0, d1 = fade * load(dS, at) + m0 * lost, fade * load(dS, at + n) + m1 * lost
            d2, d3 = fade * load(dS, at + 2 * n) + m2 * lost, fade * load(dS, at + 3 * n) + m3 * lost
            t0, t1, t2, t3 = t0 + d0 * x, t1 + d1 * x, t2 + d2 * x, t3 + d3 * x
            d0, d1, d2, d3 = d0 + q0 * grad, d1 + q1 * grad, d2 + q2 * grad, d3 + q3 * grad
            store(dS, at, d0)
            store(dS, at + n, d1)
            store(dS, at + 2 * n, d2)
            store(dS, at + 3 * n, d3)
            both = (d0 * k0 + d1 * k1) + (d2 * k2 + d3 * k3)
            store(room, j * n, both + load(room, j * n) if i else both)
        along = along + ((k0 * t0 + k1 * t1) + (k2 * t2 + k3 * t3))
        collect(new, dk, to + i, rate * (t0 + q0 * own))
        collect(new, dk, to + i + n, rate * (t1 + q1 * own))
        collect(new, dk, to + i + 2 * n, rate * (t2 + q2 * own))
        collect(new, dk, to + i + 3 * n, rate * (t3 + q3 * own))
        i += 4 * n
    while i < K:
        m, key, ask, out = less * load(before, ba + i), load(k, ka + i), load(q, qa + i), zero
        for j in range(N):
            at = i * N + j * n
            d = fade * load(dS, at) + m * splat(w, j)
            out = out + d * splat(e, ea + j)
            d = d + ask * splat(dy, ga + j)
            store(dS, at, d)
            store(room, j * n, d * key + load(room, j * n) if i else d * key)
        along = along + key * out
        collect(new, dk, to + i, rate * (out + ask * own))
        i += n
    return total(rate * along)


@compiled
def repeat(S, a, q, qa, k, ka, e, ea, beta, dy, w, ga, wa, dq, dk, to, K, N, new):
    """S = P + beta k e^T, P = a S; dq += S dy, dk -= P w; gives q . P dy - k . P w."""
    n, zero, fade, rate = len(load(k, ka)), full(S.dtype.type(0)), full(a), full(beta)
    i, along, own = 0, zero, rate * met(S, e, ea, dy, ga, N)
    while i + 4 * n <= K:
        k0, k1, k2, k3 = load(k, ka + i), load(k, ka + i + n), load(k, ka + i + 2 * n), load(k, ka + i + 3 * n)
        w0, w1, w2, w3 = rate * k0, rate * k1, rate * k2, rate * k3
        t0 = t1 = t2 = t3 = r0 = r1 = r2 = r3 = zero
        for j in range(N):
            at, x, grad, lost = i * N + j * 4 * n, splat(e, ea + j), splat(dy, ga + j), splat(w, wa + j)
            s0, s1 = fade * load(S, at), fade * load(S, at + n)
            s2, s3 = fade * load(S, at + 2 * n), fade * load(S, at + 3 * n)
            r0, r1, r2, r3 = r0 + s0 * lost, r1 + s1 * lost, r2 + s2 * lost, r3 + s3 * lost
            t0, t1, t2, t3 = t0 + s0 * grad, t1 + s1 * grad, t2 + s2 * grad, t3 + s3 * grad
            store(S, at, s0 + w0 * x)
            store(S, at + n, s1 + w1 * x)
            store(S, at + 2 * n, s2 + w2 * x)
            store(S, at + 3 * n, s3 + w3 * x)
        store(dk, to + i, load(dk, to + i) - r0)
        store(dk, to + i + n, load(dk, to + i + n) - r1)
        store(dk, to + i + 2 * n, load(dk, to + i + 2 * n) - r2)
        store(dk, to + i + 3 * n, load(dk, to + i + 3 * n) - r3)
        collect(new, dq, to + i, t0 + k0 * own)
        collect(new, dq, to + i + n, t1 + k1 * own)
        collect(new, dq, to + i + 2 * n, t2 + k2 * own)
        collect(new, dq, to + i + 3 * n, t3 + k3 * own)
        t0, t1 = load(q, qa + i) * t0 - k0 * r0, load(q, qa + i + n) * t1 - k1 * r1
        t2, t3 = load(q, qa + i + 2 * n) * t2 - k2 * r2, load(q, qa + i + 3 * n) * t3 - k3 * r3
        along = along + ((t0 + t1) + (t2 + t3))
        i += 4 * n
    while i < K:
        key, out, back = load(k, ka + i), zero, zero
        for j in range(N):
            at = i * N + j * n
            s = fade * load(S, at)
            back = back + s * splat(w, wa + j)
            out = out + s * splat(dy, ga + j)
            store(S, at, s + rate * key * splat(e, ea + j))
        store(dk, to + i, load(dk, to + i) - back)
        collect(new, dq, to + i, out + key * own)
        along = along + (load(q, qa + i) * out - key * back)
        i += n
    return total(along)


@compiled
def write(room, beta, e, ea, dv, w, N):
    """dv = w = beta times what the room sums to; gives dbeta."""
    n, rate = len(load(e, ea)), full(beta)
    d_beta = full(dv.dtype.type(0))
    for j in range(0, N, n):
        du = sums(room, j * n)
        d_beta = d_beta + du * load(e, ea + j)
        store(w, j, rate * du)
        store(dv, ea + j, rate * du)
    return total(d_beta)


@compiled
def fade_of(like, g, reset, sg, b, t, h):
    """A token's fade; a reset is a fade of zero."""
    if reset.size and reset[b, t]:
        return like.dtype.type(0)
    return exponential(g[place(sg, b, t, h)]) if g.size else like.dtype.type(1)


@compiled
def backward(
    q, k, beta, g, reset, start, errors, dy, end, dq, dk, dv, d_beta, dg, begin, sizes, strides, first, last
):  # fmt: skip
    """start, end and begin (B,H,K,V): the first state, the gradients of the last one and of the first one.

    dq, dk (B,T,H,K), dv (B,T,H,V), d_beta and dg (B,T,H).
    """
    T, H, K, V = sizes
    sq, sk, sb, sg, sd = strides
    most, one, none = columns(K, V), end.dtype.type(1), end.dtype.type(0)
    S, w, room, row = aligned(K * most, end), aligned(most, end), aligned(most * 16, end), aligned(K, end)
    later = np.zeros(1, np.float64)  # the sum of a whole row may be large beside one token's
    for task in range(first, last):
        b, h = task // H, task % H
        later[0] = 0
        for column in range(0, V, most):
            N, corner, new = min(most, V - column), task * K * V + column, column == 0
            turned(end, corner, V, S, K, N)
            clear(w, 0, N)
            a, before = one, place(sk, b, T - 1, h)
            for t in range(T - 1, -1, -1):
                head, ka, qa = (b * T + t) * H + h, place(sk, b, t, h), place(sq, b, t, h)
                rate, ea, ga = beta[place(sb, b, t, h)], head * V + column, place(sd, b, t, h) + column
                r, next_row = t - AHEAD, AHEAD * H
                ahead(q, place(sq, b, r, h), K)
                ahead(k, place(sk, b, r, h), K)
                ahead(dy, place(sd, b, r, h) + column, N)
                ahead(errors, ea - next_row * V, N)
                ahead(dk, (head - next_row) * K, K)
                ahead(dv, ea - next_row * V, N)
                read = unwind(S, a, k, before, w, q, qa, k, ka, errors, ea, rate, dy, ga, dk, head * K, K, N, room, new)
                dg[head] = (none if new else dg[head]) - (read if t < T - 1 else none)
                d_beta[head] = (none if new else d_beta[head]) + write(room, rate, errors, ea, dv, w, N)
                a, before = fade_of(end, g, reset, sg, b, t, h), ka
            copy(k, before, row, 0, K)
            for i in range(K):
                for j in range(N):
                    begin[corner + i * V + j] = a * (S[spot(j, i, K, N, len(load(S, 0)))] - row[i] * w[j])
            turned(start, corner, V, S, K, N)
            for t in range(T):
                head, ka, qa = (b * T + t) * H + h, place(sk, b, t, h), place(sq, b, t, h)
                rate, ea, ga = beta[place(sb, b, t, h)], head * V + column, place(sd, b, t, h) + column
                a = fade_of(end, g, reset, sg, b, t, h)
                r, next_row = t + AHEAD, AHEAD * H
                ahead(q, place(sq, b, r, h), K)
                ahead(k, place(sk, b, r, h), K)
                ahead(dy, place(sd, b, r, h) + column, N)
                ahead(errors, ea + next_row * V, N)
                ahead(dk, (head + next_row) * K, K)
                ahead(dq, (head + next_row) * K, K)
                ahead(dv, ea + next_row * V, N)
                if t == T - 1:
                    product(S, end, corner, V, later, 1, K, N)
                dg[head] += repeat(S, a, q, qa, k, ka, errors, ea, rate, dy, dv, ga, ea, dq, dk, head * K, K, N, new)
        later[0] *= a
        for t in range(T - 1, -1, -1):
            head = (b * T + t) * H + h
            later[0] = 0 if reset.size and reset[b, t] else later[0] + dg[head]
            dg[head] = later[0]


@compiled
def instruction(line, none, many, first, last):
    q, qs, k, ks, v, vs = floats(line[1]), line[2], floats(line[3]), line[4], floats(line[5]), line[6]
    beta, bs, g, gs, y, S = floats(line[7]), line[8], floats(line[9]), line[10], floats(line[11]), floats(line[12])
    H, K, V, empty = line[13], line[14], line[15], floats(0)[:0]
    strides = ((many * qs, qs, K), (many * ks, ks, K), (many * vs, vs, V), (many * bs, bs, 1), (many * gs, gs, 1))
    fades = g if line[9] else empty
    forward(q, k, v, beta, fades, none, S, y, S, empty, (many, H, K, V), strides, first, last)


def _rows(given: Given, dtype: torch.dtype, *wanted: int) -> Any:
    """Those of `given` as flat arrays of whole rows, and their strides; one number a head stays one."""
    none = torch.empty(0, 0, 0, 0, dtype=dtype)
    found = [none if given[i] is None else given[i] for i in wanted]
    return zip(*(flat(t.to(dtype).unsqueeze(-1) if t.dim() == 3 else whole(read(t, dtype))) for t in found))


def _forward(given: Given, reset: Tensor | None, keep: bool) -> tuple[Tensor, Tensor, Given]:
    q, v, start = given[0], given[2], given[5]
    fits("bthk bthk bthv bth bth bhkv bt", *given, reset)
    (B, T, H, V), K, like = v.shape, q.shape[3], torch.empty(0, dtype=wide(v))
    broad, deep = K + -K % PAD, V + -V % PAD
    arrays, strides = _rows(given, like.dtype, 0, 1, 2, 3, 4)
    y, final = v.new_empty(B, T, H, deep), like.new_empty(B, H, broad, deep)
    errors = like.new_empty(B, T if keep else 0, H, deep)
    begin = torch.zeros_like(final) if start is None else whole(start.to(like.dtype), 2).contiguous()
    out = [line(t) for t in (begin, y, final, errors)]
    share(forward, B * H, y.numel() * broad, *arrays, marks(reset), *out, (T, H, broad, deep), strides)
    return y[..., :V], final[..., :K, :V], (begin, errors)


def _backward(given: Given, reset: Tensor | None, kept: Given, d_y: Tensor, d_final: Tensor) -> Given:
    start, errors = kept
    (B, T, H, V), K, like = errors.shape, start.shape[2], errors
    arrays, strides = _rows((*given, d_y), like.dtype, 0, 1, 3, 4, 6)
    dq, dk = like.new_empty(2, B, T, H, K)
    d_beta, dg = like.new_empty(2, B, T, H)
    end, dv = whole(d_final, 2).contiguous(), torch.empty_like(errors)
    d_start = torch.empty_like(end)
    out = [line(t) for t in (end, dq, dk, dv, d_beta, dg, d_start)]
    ends = (line(start), line(errors), arrays[4])
    share(backward, B * H, dv.numel() * K, *arrays[:4], marks(reset), *ends, *out, (T, H, K, V), strides)
    K, V = d_final.shape[2:]
    return dq[..., :K], dk[..., :K], dv[..., :V], d_beta, None if given[4] is None else dg, d_start[..., :K, :V]


def delta_scan(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor | None = None,
    *,
    initial_state: Tensor | None = None,
    reset: Tensor | None = None,
) -> Any:
    return run(Form(_forward, _backward, delta_scan_chunked), q, k, v, beta, log_decay, initial_state, reset=reset)
