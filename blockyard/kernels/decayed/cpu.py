"""The scan of a fading matrix memory, token by token: its state fits the innermost cache.

Forward keeps the state as (K,V), for y sums over K. Backward goes through the tokens twice, some columns of V at a
time, with the state as (V,K): once from the end, with dS the gradient of S_t, the token's own reading included, and
once from the beginning, with S itself:

    dS_t = diag(exp(g_{t+1})) dS_{t+1} + q_t dy_t^T        dk_t = dS_t v_t        dv_t = dS_t^T k_t
    S_t = diag(exp(g_t)) S_{t-1} + k_t v_t^T               dq_t = S_t dy_t

Both together give the log-decays theirs, without a look at a state: what S_t and the gradient that reaches it from
later tokens have in common, rowsum(S_t * G_t), is dg_{t+1}, and a token changes it by what it reads of earlier ones
and what later ones read of it:

    dg_t = dg_{t+1} + q_t * dq'_t - k_t * dk'_t     dq'_t = dq_t - k_t (v_t . dy_t)     dk'_t = dk_t - q_t (v_t . dy_t)

What a token reads of itself is in neither: under hard gates nothing but its rounding would be left. For the same reason
the last token begins with what is left of the state before it, in place of dg_{t+1} and of k_t * dk'_t.

A task is a row and a head; in backward all heads that share q and k are one task where there are tasks enough, so
that their gradients are added up in place.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..toolkit.arrays import fits, flat, line, marks, read, whole
from ..toolkit.autograd import Form, Given, run
from ..toolkit.chunks import wide
from ..toolkit.compile import AHEAD, ahead, aligned, clear, compiled, copy, place
from ..toolkit.lanes import exponential, full, load, splat, store, sums, total
from ..toolkit.machine import floats
from ..toolkit.parallel import share
from ..toolkit.slab import collect, columns, met, product, spot, turned
from .chunked import decayed_scan_chunked


@compiled
def fill(fade, at, g, here, K, W):
    """One fade per row of the state, from as many or from one."""
    one = full(exponential(g[here]))
    for i in range(0, K, len(one)):
        store(fade, at + i, one if W == 1 else exponential(load(g, here + i)))


@compiled
def step(S, fade, k, ka, v, va, q, qa, y, ya, K, V):
    """S = diag(fade) S + k v^T, y = S^T q. Four vectors of V at once: their sums wait for one another less."""
    n, j, zero = len(load(v, va)), 0, full(S.dtype.type(0))
    while j + 4 * n <= V:
        v0, v1, v2, v3 = load(v, va + j), load(v, va + j + n), load(v, va + j + 2 * n), load(v, va + j + 3 * n)
        y0 = y1 = y2 = y3 = zero
        for i in range(K):
            at, a, key, ask = i * V + j, splat(fade, i), splat(k, ka + i), splat(q, qa + i)
            s0, s1 = a * load(S, at) + key * v0, a * load(S, at + n) + key * v1
            s2, s3 = a * load(S, at + 2 * n) + key * v2, a * load(S, at + 3 * n) + key * v3
            store(S, at, s0)
            store(S, at + n, s1)
            store(S, at + 2 * n, s2)
            store(S, at + 3 * n, s3)
            y0, y1, y2, y3 = y0 + ask * s0, y1 + ask * s1, y2 + ask * s2, y3 + ask * s3
        store(y, ya + j, y0)
        store(y, ya + j + n, y1)
        store(y, ya + j + 2 * n, y2)
        store(y, ya + j + 3 * n, y3)
        j += 4 * n
    while j < V:
        x, out = load(v, va + j), zero
        for i in range(K):
            s = splat(fade, i) * load(S, i * V + j) + splat(k, ka + i) * x
            store(S, i * V + j, s)
            out = out + splat(q, qa + i) * s
        store(y, ya + j, out)
        j += n


@compiled
def forward(q, k, v, g, reset, start, y, final, sizes, strides, first, last):
    """y (B,T,H,V), start and final (B,H,K,V)."""
    T, H, G, K, V, W = sizes
    sq, sk, sv, sg = strides
    S, fade, size = aligned(K * V, start), aligned(K, start), K * V
    for task in range(first, last):
        b, h = task // H, task % H
        group = h // (H // G)
        copy(start, task * size, S, 0, size)
        for t in range(T):
            if reset.size and reset[b, t]:
                clear(S, 0, size)
            fill(fade, 0, g, place(sg, b, t, h), K, W)
            ka, qa, va = place(sk, b, t, group), place(sq, b, t, group), place(sv, b, t, h)
            step(S, fade, k, ka, v, va, q, qa, y, ((b * T + t) * H + h) * V, K, V)
        copy(S, 0, final, task * size, size)


@compiled
def unwind(dS, fade, q, qa, k, ka, v, va, dy, ga, dk, to, dv, da, dg, ha, less, W, K, N, room, new_k, new):
    """dS = G + q dy^T, G = diag(fade) dS, fade of the token after; dk += dS v, dv = dS^T k, dg += less k * G v."""
    n, zero, own = len(load(q, qa)), full(dS.dtype.type(0)), met(dS, v, va, dy, ga, N)
    i, along = 0, zero
    while i + 4 * n <= K:
        f0, f1, f2, f3 = load(fade, i), load(fade, i + n), load(fade, i + 2 * n), load(fade, i + 3 * n)
        k0, k1, k2, k3 = load(k, ka + i), load(k, ka + i + n), load(k, ka + i + 2 * n), load(k, ka + i + 3 * n)
        q0, q1, q2, q3 = load(q, qa + i), load(q, qa + i + n), load(q, qa + i + 2 * n), load(q, qa + i + 3 * n)
        t0 = t1 = t2 = t3 = zero
        for j in range(N):
            at, grad, x = i * N + j * 4 * n, splat(dy, ga + j), splat(v, va + j)
            d0, d1, d2 = f0 * load(dS, at), f1 * load(dS, at + n), f2 * load(dS, at + 2 * n)
            d3 = f3 * load(dS, at + 3 * n)
            t0, t1, t2, t3 = t0 + d0 * x, t1 + d1 * x, t2 + d2 * x, t3 + d3 * x
            d0, d1, d2, d3 = d0 + q0 * grad, d1 + q1 * grad, d2 + q2 * grad, d3 + q3 * grad
            store(dS, at, d0)
            store(dS, at + n, d1)
            store(dS, at + 2 * n, d2)
            store(dS, at + 3 * n, d3)
            both = (d0 * k0 + d1 * k1) + (d2 * k2 + d3 * k3)
            store(room, j * n, both + load(room, j * n) if i else both)
        collect(new_k, dk, to + i, t0 + q0 * own)
        collect(new_k, dk, to + i + n, t1 + q1 * own)
        collect(new_k, dk, to + i + 2 * n, t2 + q2 * own)
        collect(new_k, dk, to + i + 3 * n, t3 + q3 * own)
        if W == 1:
            along = along + ((k0 * t0 + k1 * t1) + (k2 * t2 + k3 * t3))
        else:
            collect(new, dg, ha + i, less * k0 * t0)
            collect(new, dg, ha + i + n, less * k1 * t1)
            collect(new, dg, ha + i + 2 * n, less * k2 * t2)
            collect(new, dg, ha + i + 3 * n, less * k3 * t3)
        i += 4 * n
    while i < K:
        f, key, ask, out = load(fade, i), load(k, ka + i), load(q, qa + i), zero
        for j in range(N):
            at = i * N + j * n
            d = f * load(dS, at)
            out = out + d * splat(v, va + j)
            d = d + ask * splat(dy, ga + j)
            store(dS, at, d)
            store(room, j * n, d * key + load(room, j * n) if i else d * key)
        collect(new_k, dk, to + i, out + ask * own)
        if W == 1:
            along = along + key * out
        else:
            collect(new, dg, ha + i, less * key * out)
        i += n
    if W == 1:
        dg[ha] = (dg.dtype.type(0) if new else dg[ha]) + total(less * along)
    for j in range(0, N, n):
        store(dv, da + j, sums(room, j * n))


@compiled
def repeat(S, fade, q, qa, k, ka, v, va, dy, ga, dq, to, dg, ha, W, K, N, new_q):
    """S = P + k v^T, P = diag(fade) S; dq += S dy, dg += q * P dy."""
    n, zero, own = len(load(q, qa)), full(S.dtype.type(0)), met(S, v, va, dy, ga, N)
    i, along = 0, zero
    while i + 4 * n <= K:
        f0, f1, f2, f3 = load(fade, i), load(fade, i + n), load(fade, i + 2 * n), load(fade, i + 3 * n)
        k0, k1, k2, k3 = load(k, ka + i), load(k, ka + i + n), load(k, ka + i + 2 * n), load(k, ka + i + 3 * n)
        t0 = t1 = t2 = t3 = zero
        for j in range(N):
            at, x, grad = i * N + j * 4 * n, splat(v, va + j), splat(dy, ga + j)
            s0, s1 = f0 * load(S, at), f1 * load(S, at + n)
            s2, s3 = f2 * load(S, at + 2 * n), f3 * load(S, at + 3 * n)
            t0, t1, t2, t3 = t0 + s0 * grad, t1 + s1 * grad, t2 + s2 * grad, t3 + s3 * grad
            store(S, at, s0 + k0 * x)
            store(S, at + n, s1 + k1 * x)
            store(S, at + 2 * n, s2 + k2 * x)
            store(S, at + 3 * n, s3 + k3 * x)
        collect(new_q, dq, to + i, t0 + k0 * own)
        collect(new_q, dq, to + i + n, t1 + k1 * own)
        collect(new_q, dq, to + i + 2 * n, t2 + k2 * own)
        collect(new_q, dq, to + i + 3 * n, t3 + k3 * own)
        t0, t1 = t0 * load(q, qa + i), t1 * load(q, qa + i + n)
        t2, t3 = t2 * load(q, qa + i + 2 * n), t3 * load(q, qa + i + 3 * n)
        if W == 1:
            along = along + ((t0 + t1) + (t2 + t3))
        else:
            collect(False, dg, ha + i, t0)
            collect(False, dg, ha + i + n, t1)
            collect(False, dg, ha + i + 2 * n, t2)
            collect(False, dg, ha + i + 3 * n, t3)
        i += 4 * n
    while i < K:
        f, key, out = load(fade, i), load(k, ka + i), zero
        for j in range(N):
            at = i * N + j * n
            s = f * load(S, at)
            out = out + s * splat(dy, ga + j)
            store(S, at, s + key * splat(v, va + j))
        collect(new_q, dq, to + i, out + key * own)
        if W == 1:
            along = along + out * load(q, qa + i)
        else:
            collect(False, dg, ha + i, out * load(q, qa + i))
        i += n
    if W == 1:
        dg[ha] += total(along)


@compiled
def backward(q, k, v, g, reset, start, dy, end, dq, dk, dv, dg, begin, sizes, strides, first, last):
    """start, end and begin (B,H,K,V): the first state, the gradients of the last one and of the first one.

    dq, dk (B,T,H/R,K), dv (B,T,H,V), dg (B,T,H,W); R heads are one task.
    """
    T, H, G, K, V, W, R = sizes
    sq, sk, sv, sg, sd = strides
    most, one = columns(K, V), end.dtype.type(1)
    S, fade, room = aligned(K * most, end), aligned(K, end), aligned(most * 16, end)
    later = np.zeros(W, np.float64)  # the sum of a whole row may be large beside one token's
    for unit in range(first * R, last * R):
        b, h = unit // H, unit % H
        group, part = h // (H // G), h // R
        later[:] = 0  # what the state behind a token and the gradient from later ones have in common
        for column in range(0, V, most):
            N, corner, new = min(most, V - column), unit * K * V + column, column == 0
            new_k = new and unit % R == 0
            turned(end, corner, V, S, K, N)
            fade[:] = one
            for t in range(T - 1, -1, -1):
                ka, qa = place(sk, b, t, group), place(sq, b, t, group)
                va, ga = place(sv, b, t, h) + column, place(sd, b, t, h) + column
                to, head = ((b * T + t) * (H // R) + part) * K, (b * T + t) * H + h
                da, r = head * V + column, t - AHEAD
                ahead(q, place(sq, b, r, group), K)
                ahead(k, place(sk, b, r, group), K)
                ahead(v, place(sv, b, r, h) + column, N)
                ahead(dy, place(sd, b, r, h) + column, N)
                ahead(g, place(sg, b, r, h), W)
                ahead(dk, to - AHEAD * H // R * K, K)
                ahead(dv, da - AHEAD * H * V, N)
                ahead(dg, (head - AHEAD * H) * W, W)
                less = full(-one if t < T - 1 else one - one)
                ha = head * W
                unwind(S, fade, q, qa, k, ka, v, va, dy, ga, dk, to, dv, da, dg, ha, less, W, K, N, room, new_k, new)
                fades(fade, g, reset, sg, b, t, h, K, W)
            for i in range(K):
                for j in range(N):
                    begin[corner + i * V + j] = fade[i] * S[spot(j, i, K, N, len(load(S, 0)))]
            turned(start, corner, V, S, K, N)
            for t in range(T):
                fades(fade, g, reset, sg, b, t, h, K, W)
                ka, qa = place(sk, b, t, group), place(sq, b, t, group)
                va, ga = place(sv, b, t, h) + column, place(sd, b, t, h) + column
                to, ha = ((b * T + t) * (H // R) + part) * K, ((b * T + t) * H + h) * W
                r = t + AHEAD
                ahead(q, place(sq, b, r, group), K)
                ahead(k, place(sk, b, r, group), K)
                ahead(v, place(sv, b, r, h) + column, N)
                ahead(dy, place(sd, b, r, h) + column, N)
                ahead(g, place(sg, b, r, h), W)
                ahead(dq, to + AHEAD * H // R * K, K)
                ahead(dg, ha + AHEAD * H * W, W)
                if t == T - 1:
                    product(S, end, corner, V, later, W, K, N)
                repeat(S, fade, q, qa, k, ka, v, va, dy, ga, dq, to, dg, ha, W, K, N, new_k)
        for i in range(W):
            later[i] *= fade[i]
        for t in range(T - 1, -1, -1):
            ha = ((b * T + t) * H + h) * W
            for i in range(W):
                later[i] = 0 if reset.size and reset[b, t] else later[i] + dg[ha + i]
                dg[ha + i] = later[i]


@compiled
def fades(fade, g, reset, sg, b, t, h, K, W):
    """What is left of each row of the state at a token; a reset is a fade of zero."""
    if reset.size and reset[b, t]:
        clear(fade, 0, K)
    else:
        fill(fade, 0, g, place(sg, b, t, h), K, W)


@compiled
def instruction(line, none, many, first, last):
    q, qs, k, ks, v, vs = floats(line[1]), line[2], floats(line[3]), line[4], floats(line[5]), line[6]
    g, gs, y, S = floats(line[7]), line[8], floats(line[9]), floats(line[10])
    H, G, K, V, W = line[11], line[12], line[13], line[14], line[15]
    strides = ((many * qs, qs, K), (many * ks, ks, K), (many * vs, vs, V), (many * gs, gs, W))
    forward(q, k, v, g, none, S, y, S, (many, H, G, K, V, W), strides, first, last)


def _whole(given: Given, dtype: torch.dtype) -> Any:
    """Whole rows of q, k, v, a gradient of y; and of log-decays where there are many."""
    many = [t.to(dtype) if i == 3 else read(t, dtype) for i, t in enumerate(given)]
    return [t if i == 3 and t.shape[-1] == 1 else whole(t) for i, t in enumerate(many)]


def _forward(given: Given, reset: Tensor | None, keep: bool) -> tuple[Tensor, Tensor, Given]:
    q, v, start = given[0], given[2], given[4]
    fits("btgk btgk bthv bthw bhkv bt", *given, reset)
    if v.shape[2] % q.shape[2] or given[3].shape[3] not in (1, q.shape[3]):
        raise ValueError(f"{v.shape[2]} heads of {given[3].shape[3]} fades with {tuple(q.shape[2:])} queries")
    rows = _whole(given[:4], wide(v))
    (B, T, H, V), (_, _, G, K), W = rows[2].shape, rows[0].shape, rows[3].shape[3]
    y, final = rows[2].new_empty(B, T, H, V), rows[3].new_empty(B, H, K, V)
    begin = torch.zeros_like(final) if start is None else whole(start.to(final.dtype), 2).contiguous()
    arrays, strides = zip(*map(flat, rows))
    out = [line(t) for t in (begin, y, final)]
    share(forward, B * H, y.numel() * K, *arrays, marks(reset), *out, (T, H, G, K, V, W), strides)
    return y[..., : v.shape[3]], final[..., : q.shape[3], : v.shape[3]], (begin,)


def _backward(given: Given, reset: Tensor | None, kept: Given, d_y: Tensor, d_final: Tensor) -> Given:
    rows = _whole((*given[:4], d_y), wide(d_final))
    (B, T, H, V), (_, _, G, K), W = rows[2].shape, rows[0].shape, rows[3].shape[3]
    R = H // G if torch.get_num_threads() <= B * G else 1
    end = whole(d_final, 2).contiguous()
    once = R == 1 and H == G and columns(K, V) >= V  # nothing is added to what was written
    dq, dk = (torch.empty(B, T, H // R, K, dtype=row.dtype if once else end.dtype) for row in rows[:2])
    dv = torch.empty_like(rows[2], memory_format=torch.contiguous_format)
    dg, d_start = end.new_empty(B, T, H, W), torch.empty_like(end)
    arrays, strides = zip(*map(flat, rows))
    ends, out = (line(kept[0]), arrays[4], line(end)), [line(t) for t in (dq, dk, dv, dg, d_start)]
    sizes = (T, H, G, K, V, W, R)
    share(backward, B * H // R, dv.numel() * K, *arrays[:4], marks(reset), *ends, *out, sizes, strides)
    if H // R != G:
        dq, dk = (t.unflatten(2, (G, -1)).sum(3) for t in (dq, dk))
    (K, V), W = d_final.shape[2:], given[3].shape[3]
    return dq[..., :K], dk[..., :K], dv[..., :V], dg[..., :W], d_start[..., :K, :V]


def decayed_scan(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    *,
    initial_state: Tensor | None = None,
    reset: Tensor | None = None,
) -> Any:
    return run(Form(_forward, _backward, decayed_scan_chunked), q, k, v, log_decay, initial_state, reset=reset)
