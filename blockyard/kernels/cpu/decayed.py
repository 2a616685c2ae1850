"""The scan of a fading matrix memory, token by token: its state fits the innermost cache.

Forward keeps the state as (K,V), for y sums over K. Backward keeps it as (V,K), for the gradients of q, k and the
fade sum over V; it repeats the states of PIECE tokens from the state before them, SLAB columns of V at a time. With dS
the gradient of S_t, the token's own reading included:

    dq_t = S_t dy_t        dk_t = dS v_t        dv_t = dS^T k_t
    dlog_decay_t = exp(log_decay_t) rowsum(S_{t-1} * dS)        dS_{t-1} = diag(exp(log_decay_t)) dS

A task is a row and a head; in backward all heads that share q and k are one task where there are tasks enough, so
that their gradients are added up in place.
"""

from typing import Any

import torch
from torch import Tensor

from .._chunks import wide
from ._compile import aligned, clear, compiled, copy, place
from ._grad import Form, Given, run
from ._lanes import exponential, full, load, splat, store, sums, total
from ._share import flat, line, marks, read, share, whole
from ._slab import SLAB, advance, turned, turned_back

PIECE = 64  # tokens between kept states


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
def forward(q, k, v, g, reset, start, y, final, kept, sizes, strides, first, last):
    """y (B,T,H,V), start and final (B,H,K,V), kept (B,H,pieces,K,V) or nothing."""
    T, H, G, K, V, W = sizes
    sq, sk, sv, sg = strides
    S, fade, size = aligned(K * V, start), aligned(K, start), K * V
    pieces = (T + PIECE - 1) // PIECE
    for task in range(first, last):
        b, h = task // H, task % H
        group = h // (H // G)
        copy(start, task * size, S, 0, size)
        for t in range(T):
            if kept.size and t % PIECE == 0:
                copy(S, 0, kept, (task * pieces + t // PIECE) * size, size)
            if reset.size and reset[b, t]:
                clear(S, 0, size)
            fill(fade, 0, g, place(sg, b, t, h), K, W)
            ka, qa, va = place(sk, b, t, group), place(sq, b, t, group), place(sv, b, t, h)
            step(S, fade, k, ka, v, va, q, qa, y, ((b * T + t) * H + h) * V, K, V)
        copy(S, 0, final, task * size, size)


@compiled
def back(dS, S, before, after, fades, at, q, qa, k, ka, v, va, dy, ga, dq, dk, to, dv, da, dg, ha, W, K, room):
    """One token's gradients of SLAB columns; dS becomes the gradient of the state before it."""
    n, zero = len(load(k, ka)), full(dS.dtype.type(0))
    all_fades = zero
    for j in range(SLAB):
        store(room, j * n, zero)
    for i in range(0, K, n):
        fade, key, ask = load(fades, at + i), load(k, ka + i), load(q, qa + i)
        to_q = to_k = to_fade = zero
        for j in range(SLAB):
            here, grad = i * SLAB + j * n, splat(dy, ga + j)
            d = load(dS, here) + ask * grad
            to_q = to_q + load(S, after + here) * grad
            to_k = to_k + d * splat(v, va + j)
            to_fade = to_fade + load(S, before + here) * d
            store(room, j * n, load(room, j * n) + d * key)
            store(dS, here, fade * d)
        store(dq, to + i, load(dq, to + i) + to_q)
        store(dk, to + i, load(dk, to + i) + to_k)
        if W == 1:
            all_fades = all_fades + to_fade * fade
        else:
            store(dg, ha + i, load(dg, ha + i) + to_fade * fade)
    if W == 1:
        dg[ha] += total(all_fades)
    for j in range(0, SLAB, n):
        store(dv, da + j, sums(room, j * n))


@compiled
def backward(q, k, v, g, reset, kept, dy, d_final, dq, dk, dv, dg, d_start, sizes, strides, first, last):
    """dq, dk (B,T,H/R,K) and dg (B,T,H,W) start at zero; R heads are one task."""
    T, H, G, K, V, W, R = sizes
    sq, sk, sv, sg, sd = strides
    size, pieces = SLAB * (K + 4), (T + PIECE - 1) // PIECE
    S, dS, fades = aligned((PIECE + 1) * size, d_final), aligned(size, d_final), aligned(PIECE * K, d_final)
    room = aligned(SLAB * 16, d_final)
    for unit in range(first * R, last * R):
        b, h = unit // H, unit % H
        group, part = h // (H // G), h // R
        for column in range(0, V, SLAB):
            turned(d_final, unit * K * V + column, V, dS, K)
            for t0 in range((T - 1) // PIECE * PIECE, -1, -PIECE):
                n = min(PIECE, T - t0)
                turned(kept, (unit * pieces + t0 // PIECE) * K * V + column, V, S, K)
                for i in range(n):
                    t, at = t0 + i, i * K
                    if reset.size and reset[b, t]:
                        clear(fades, at, K)  # a reset is a fade of zero
                    else:
                        fill(fades, at, g, place(sg, b, t, h), K, W)
                    ka, va = place(sk, b, t, group), place(sv, b, t, h) + column
                    advance(S, i * size, (i + 1) * size, fades, at, k, ka, v, va, K)
                for i in range(n - 1, -1, -1):
                    t, at = t0 + i, i * K
                    ka, qa = place(sk, b, t, group), place(sq, b, t, group)
                    va, ga = place(sv, b, t, h) + column, place(sd, b, t, h) + column
                    to, head = ((b * T + t) * (H // R) + part) * K, (b * T + t) * H + h
                    da, ha = head * V + column, head * W
                    back(
                        dS, S, i * size, (i + 1) * size, fades, at, q, qa, k, ka, v, va, dy, ga,
                        dq, dk, to, dv, da, dg, ha, W, K, room,
                    )  # fmt: skip
            turned_back(dS, d_start, unit * K * V + column, V, K)


def _whole(given: Given, dtype: torch.dtype) -> Any:
    """Whole rows of q, k, v, a gradient of y; and of log-decays where there are many."""
    many = [t.to(dtype) if i == 3 else read(t, dtype) for i, t in enumerate(given)]
    return [t if i == 3 and t.shape[-1] == 1 else whole(t) for i, t in enumerate(many)]


def _forward(given: Given, reset: Tensor | None, keep: bool) -> tuple[Tensor, Tensor, Given]:
    q, v, start = given[0], given[2], given[4]
    rows = _whole(given[:4], wide(v))
    (B, T, H, V), (_, _, G, K), W = rows[2].shape, rows[0].shape, rows[3].shape[3]
    y, final = rows[2].new_empty(B, T, H, V), rows[3].new_empty(B, H, K, V)
    kept = final.new_empty(B, H, -(-T // PIECE) if keep else 0, K, V)
    begin = torch.zeros_like(final) if start is None else whole(start.to(final.dtype), 2).contiguous()
    arrays, strides = zip(*map(flat, rows))
    out = [line(t) for t in (begin, y, final, kept)]
    share(forward, B * H, y.numel() * K, *arrays, marks(reset), *out, (T, H, G, K, V, W), strides)
    return y[..., : v.shape[3]], final[..., : q.shape[3], : v.shape[3]], (kept,)


def _backward(given: Given, reset: Tensor | None, kept: Given, d_y: Tensor, d_final: Tensor) -> Given:
    rows = _whole((*given[:4], d_y), wide(d_final))
    (B, T, H, V), (_, _, G, K), W = rows[2].shape, rows[0].shape, rows[3].shape[3]
    R = H // G if torch.get_num_threads() <= B * G else 1
    end = whole(d_final, 2).contiguous()
    dq, dk = end.new_zeros(2, B, T, H // R, K)
    dv, dg, d_start = end.new_empty(B, T, H, V), end.new_zeros(B, T, H, W), torch.empty_like(end)
    arrays, strides = zip(*map(flat, rows))
    ends, out = (line(kept[0]), arrays[4], line(end)), [line(t) for t in (dq, dk, dv, dg, d_start)]
    sizes = (T, H, G, K, V, W, R)
    share(backward, B * H // R, dv.numel() * K, *arrays[:4], marks(reset), *ends, *out, sizes, strides)
    if H // R != G:
        dq, dk = (t.unflatten(2, (G, -1)).sum(3) for t in (dq, dk))
    (K, V), W = d_final.shape[2:], given[3].shape[3]
    return dq[..., :K], dk[..., :K], dv[..., :V], dg[..., :W], d_start[..., :K, :V]


def scan(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    *,
    initial_state: Tensor | None = None,
    reset: Tensor | None = None,
) -> Any:
    from ..decayed import decayed_scan_chunked

    return run(Form(_forward, _backward, decayed_scan_chunked), q, k, v, log_decay, initial_state, reset=reset)
