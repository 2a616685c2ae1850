"""The scan of the delta rule, token by token.

Forward goes once through the state (K,V) for every token: what the token before wrote is added while what this token's
key and query find is summed. With e_t = v_t - a_t S_{t-1}^T k_t and u_t = beta_t e_t:

    S_t = a_t S_{t-1} + k_t u_t^T        y_t = a_t S_{t-1}^T q_t + (k_t . q_t) u_t

Backward keeps the state as (V,K), repeats the states of PIECE tokens from the state before them and the e of forward,
SLAB columns of V at a time. With dS the gradient of S_t, the token's own reading included, and w = beta_t dS^T k_t:

    dq_t = S_t dy_t        dv_t = w        dbeta_t = e_t . dS^T k_t        dk_t = dS u_t - a_t S_{t-1} w
    dlog_decay_t = a_t sum(S_{t-1} * (dS - k_t w^T))        dS_{t-1} = a_t (dS - k_t w^T)
"""

from typing import Any

import torch
from torch import Tensor

from .._chunks import wide
from ._compile import aligned, clear, compiled, copy, place
from ._grad import Form, Given, run
from ._lanes import PAD, exponential, full, load, splat, store, sums, total
from ._share import flat, line, marks, read, share, whole
from ._slab import SLAB, advance, turned, turned_back

PIECE = 64  # tokens between kept states


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
def forward(q, k, v, beta, g, reset, start, y, final, kept, errors, sizes, strides, first, last):
    """y (B,T,H,V), start and final (B,H,K,V), kept (B,H,pieces,K,V) and errors (B,T,H,V), or nothing."""
    T, H, K, V = sizes
    sq, sk, sv, sb, sg = strides
    one, size, pieces = start.dtype.type(1), K * V, (T + PIECE - 1) // PIECE
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
            if kept.size and t % PIECE == 0:
                copy(S, 0, kept, (task * pieces + t // PIECE) * size, size)
            fade = exponential(g[place(sg, b, t, h)]) if g.size else one
            e, ea = (errors, here) if errors.size else (error, 0)
            rate = beta[place(sb, b, t, h)]
            answer(fade, rate, k, ka, q, qa, v, place(sv, b, t, h), found, answers, e, ea, u, y, here, K, V)
            before = ka
        step(S, fade, k, before, u, k, before, k, before, found, answers, K, V)
        copy(S, 0, final, task * size, size)


@compiled
def meet(dS, q, qa, k, ka, dy, ga, K, room):
    """dS takes in what the token reads; the room gets SLAB vectors whose sums are dS^T k. Four columns at once."""
    n, zero = len(load(k, ka)), full(dS.dtype.type(0))
    for j in range(0, SLAB, 4):
        g0, g1, g2, g3 = splat(dy, ga + j), splat(dy, ga + j + 1), splat(dy, ga + j + 2), splat(dy, ga + j + 3)
        a0 = a1 = a2 = a3 = zero
        for i in range(0, K, n):
            key, ask, here = load(k, ka + i), load(q, qa + i), i * SLAB + j * n
            d0, d1 = load(dS, here) + ask * g0, load(dS, here + n) + ask * g1
            d2, d3 = load(dS, here + 2 * n) + ask * g2, load(dS, here + 3 * n) + ask * g3
            store(dS, here, d0)
            store(dS, here + n, d1)
            store(dS, here + 2 * n, d2)
            store(dS, here + 3 * n, d3)
            a0, a1, a2, a3 = a0 + d0 * key, a1 + d1 * key, a2 + d2 * key, a3 + d3 * key
        store(room, j * n, a0)
        store(room, (j + 1) * n, a1)
        store(room, (j + 2) * n, a2)
        store(room, (j + 3) * n, a3)


@compiled
def column(dS, here, S, before, after, g, u, m, w, key, fade, to_q, to_k, d_a):
    """The gradients that one column gives to one vector of K, and what is left of dS."""
    d, old = load(dS, here), load(S, before + here)
    to_q = to_q + load(S, after + here) * g
    to_k = to_k + (d * u - old * m)
    d = d - key * w
    store(dS, here, fade * d)
    return to_q, to_k, d_a + old * d


@compiled
def back(dS, S, before, after, a, beta, q, qa, k, ka, e, ea, dy, ga, dq, dk, to, dv, K, room):
    """One token's gradients of SLAB columns; dS becomes the gradient of the state before it. Gives dbeta and da.

    dv begins where e does; room holds SLAB vectors, and u and a w of the token.
    """
    n, zero = len(load(k, ka)), full(dS.dtype.type(0))
    fade, rate, d_beta, d_a = full(a), full(beta), zero, zero
    u, m = SLAB * n, SLAB * (n + 1)
    meet(dS, q, qa, k, ka, dy, ga, K, room)
    for j in range(0, SLAB, n):
        du, error = sums(room, j * n), load(e, ea + j)
        d_beta = d_beta + du * error
        store(dv, ea + j, rate * du)
        store(room, u + j, rate * error)
        store(room, m + j, fade * rate * du)
    for j in range(0, SLAB, 4):
        g0, g1, g2, g3 = splat(dy, ga + j), splat(dy, ga + j + 1), splat(dy, ga + j + 2), splat(dy, ga + j + 3)
        ua, ma, wa = u + j, m + j, ea + j
        u0, u1, u2, u3 = splat(room, ua), splat(room, ua + 1), splat(room, ua + 2), splat(room, ua + 3)
        m0, m1, m2, m3 = splat(room, ma), splat(room, ma + 1), splat(room, ma + 2), splat(room, ma + 3)
        w0, w1, w2, w3 = splat(dv, wa), splat(dv, wa + 1), splat(dv, wa + 2), splat(dv, wa + 3)
        for i in range(0, K, n):
            x, key = i * SLAB + j * n, load(k, ka + i)
            p, r = load(dq, to + i), load(dk, to + i)
            p, r, d_a = column(dS, x, S, before, after, g0, u0, m0, w0, key, fade, p, r, d_a)
            p, r, d_a = column(dS, x + n, S, before, after, g1, u1, m1, w1, key, fade, p, r, d_a)
            p, r, d_a = column(dS, x + 2 * n, S, before, after, g2, u2, m2, w2, key, fade, p, r, d_a)
            p, r, d_a = column(dS, x + 3 * n, S, before, after, g3, u3, m3, w3, key, fade, p, r, d_a)
            store(dq, to + i, p)
            store(dk, to + i, r)
    return total(d_beta), total(d_a)


@compiled
def backward(q, k, beta, g, reset, kept, errors, dy, end, dq, dk, dv, d_beta, dg, begin, sizes, strides, first, last):
    """end and begin (B,H,K,V): gradients of the states; dq, dk (B,T,H,K), d_beta and dg (B,T,H) start at zero."""
    T, H, K, V = sizes
    sq, sk, sb, sg, sd = strides
    zero, one, size, pieces = end.dtype.type(0), end.dtype.type(1), SLAB * (K + 4), (T + PIECE - 1) // PIECE
    S, dS, fades = aligned((PIECE + 1) * size, end), aligned(size, end), aligned(PIECE * K, end)
    room, u = aligned(SLAB * 18, end), aligned(SLAB, end)
    for task in range(first, last):
        b, h = task // H, task % H
        for column in range(0, V, SLAB):
            turned(end, task * K * V + column, V, dS, K)
            for t0 in range((T - 1) // PIECE * PIECE, -1, -PIECE):
                n = min(PIECE, T - t0)
                turned(kept, (task * pieces + t0 // PIECE) * K * V + column, V, S, K)
                for i in range(n):
                    t = t0 + i
                    a = exponential(g[place(sg, b, t, h)]) if g.size else one
                    if reset.size and reset[b, t]:
                        a = zero  # a reset is a fade of zero
                    rate, ea = beta[place(sb, b, t, h)], ((b * T + t) * H + h) * V + column
                    for d in range(K):
                        fades[i * K + d] = a
                    for j in range(SLAB):
                        u[j] = rate * errors[ea + j]
                    advance(S, i * size, (i + 1) * size, fades, i * K, k, place(sk, b, t, h), u, 0, K)
                for i in range(n - 1, -1, -1):
                    t, a, head = t0 + i, fades[i * K], (b * T + t0 + i) * H + h
                    rate, ea, ga = beta[place(sb, b, t, h)], head * V + column, place(sd, b, t, h) + column
                    ka, qa = place(sk, b, t, h), place(sq, b, t, h)
                    more, faded = back(
                        dS, S, i * size, (i + 1) * size, a, rate, q, qa, k, ka,
                        errors, ea, dy, ga, dq, dk, head * K, dv, K, room,
                    )  # fmt: skip
                    d_beta[head] += more
                    dg[head] += a * faded
            turned_back(dS, begin, task * K * V + column, V, K)


def _rows(given: Given, dtype: torch.dtype, *wanted: int) -> Any:
    """Those of `given` as flat arrays of whole rows, and their strides; one number a head stays one."""
    none = torch.empty(0, 0, 0, 0, dtype=dtype)
    found = [none if given[i] is None else given[i] for i in wanted]
    return zip(*(flat(t.to(dtype).unsqueeze(-1) if t.dim() == 3 else whole(read(t, dtype))) for t in found))


def _forward(given: Given, reset: Tensor | None, keep: bool) -> tuple[Tensor, Tensor, Given]:
    q, v, start = given[0], given[2], given[5]
    (B, T, H, V), K, like = v.shape, q.shape[3], torch.empty(0, dtype=wide(v))
    broad, deep = K + -K % PAD, V + -V % PAD
    arrays, strides = _rows(given, like.dtype, 0, 1, 2, 3, 4)
    y, final = v.new_empty(B, T, H, deep), like.new_empty(B, H, broad, deep)
    kept = like.new_empty(B, H, -(-T // PIECE) if keep else 0, broad, deep)
    errors = like.new_empty(B, T if keep else 0, H, deep)
    begin = torch.zeros_like(final) if start is None else whole(start.to(like.dtype), 2).contiguous()
    out = [line(t) for t in (begin, y, final, kept, errors)]
    share(forward, B * H, y.numel() * broad, *arrays, marks(reset), *out, (T, H, broad, deep), strides)
    return y[..., :V], final[..., :K, :V], (kept, errors)


def _backward(given: Given, reset: Tensor | None, kept: Given, d_y: Tensor, d_final: Tensor) -> Given:
    before, errors = kept
    (B, T, H, V), K, like = errors.shape, before.shape[3], errors
    arrays, strides = _rows((*given, d_y), like.dtype, 0, 1, 3, 4, 6)
    dq, dk = like.new_zeros(2, B, T, H, K)
    d_beta, dg = like.new_zeros(2, B, T, H)
    end, dv = whole(d_final, 2).contiguous(), torch.empty_like(errors)
    d_start = torch.empty_like(end)
    out = [line(t) for t in (end, dq, dk, dv, d_beta, dg, d_start)]
    ends = (line(before), line(errors), arrays[4])
    share(backward, B * H, dv.numel() * K, *arrays[:4], marks(reset), *ends, *out, (T, H, K, V), strides)
    K, V = d_final.shape[2:]
    return dq[..., :K], dk[..., :K], dv[..., :V], d_beta, None if given[4] is None else dg, d_start[..., :K, :V]


def scan(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor | None = None,
    *,
    initial_state: Tensor | None = None,
    reset: Tensor | None = None,
) -> Any:
    from ..delta import delta_scan_chunked

    return run(Form(_forward, _backward, delta_scan_chunked), q, k, v, beta, log_decay, initial_state, reset=reset)
