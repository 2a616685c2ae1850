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

g are the log-decays, `decay` what they leave of each row of S. n is the length of a vector, N how many columns of V a
slab has; x0 to x3 are four neighbouring vectors of x. `at`: where a token's rows begin, `to`: where its gradients do.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..toolkit.arrays import Strided, check_axes, loadable, padded, raveled, reset_bytes, strided
from ..toolkit.autograd import Form, Given, run
from ..toolkit.chunks import state_dtype
from ..toolkit.compile import PREFETCH, aligned_zeros, clear, compiled, copy, inlined, offset, prefetch_row
from ..toolkit.lanes import exponential, full, load, reduce_add, reduce_rows, splat, store
from ..toolkit.machine import borrowed, float32_at, operand
from ..toolkit.parallel import parallel_for
from ..toolkit.slab import accumulate, add_row_dots, dot, slab_columns, slab_index, transposed
from .chunked import decayed_scan_chunked


class Inputs(NamedTuple):
    """q, k (B,T,G,K), v (B,T,H,V), g (B,T,H,W) with W of K or 1."""

    q: Strided
    k: Strided
    v: Strided
    g: Strided


class Grads(NamedTuple):
    """dq, dk (B,T,H/R,K), dv (B,T,H,V), dg (B,T,H,W), and that of the first state (B,H,K,V)."""

    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    g: np.ndarray
    start: np.ndarray


class Sizes(NamedTuple):
    """Tokens, heads, groups of heads with the same q and k, sizes; R heads are one task of backward, H/R parts."""

    T: int
    H: int
    G: int
    K: int
    V: int
    W: int
    R: int
    parts: int


class Task(NamedTuple):
    """A row and a head, of q and k the group, of dq and dk the one of H/R."""

    b: int
    h: int
    group: int
    part: int


class At(NamedTuple):
    """Where a token's rows begin."""

    q: int
    k: int
    v: int
    g: int
    dy: int


class Slab(NamedTuple):
    """N columns of (K,V); whether nothing was added to dq and dk before, and to dg."""

    K: int
    N: int
    W: int
    new_k: bool
    new: bool


@inlined
def fill_decay(decay, given, reset, task, t, sizes):
    """What is left of each row of the state at a token; a reset leaves nothing."""
    g, at = given.g.data, offset(given.g, task.b, t, task.h)
    keep = full(decay.dtype.type(0 if reset.size and reset[task.b, t] else 1))
    one = keep * full(exponential(g[at]))
    for i in range(0, sizes.K, len(one)):
        store(decay, i, one if sizes.W == 1 else keep * exponential(load(g, at + i)))


@inlined
def rows_at(given, dy, task, t, column):
    """A token's rows, from a column of V on."""
    b, h, group = task.b, task.h, task.group
    q, k, v = offset(given.q, b, t, group), offset(given.k, b, t, group), offset(given.v, b, t, h) + column
    return At(q, k, v, offset(given.g, b, t, h), offset(dy, b, t, h) + column)


@inlined
def grads_at(task, t, column, sizes):
    """Its gradients; those of q and k lie alike."""
    token = task.b * sizes.T + t
    head, k = token * sizes.H + task.h, (token * sizes.parts + task.part) * sizes.K
    return At(k, k, head * sizes.V + column, head * sizes.W, 0)


@compiled
def step(S, decay, given, at, y, to, K, V):
    """S = diag(decay) S + k v^T, y = S^T q. Four vectors of V at once: their sums wait for one another less."""
    q, k, v = given.q.data, given.k.data, given.v.data
    n, j, zero = len(load(v, at.v)), 0, full(S.dtype.type(0))
    while j + 4 * n <= V:
        va = at.v + j
        v0, v1, v2, v3 = load(v, va), load(v, va + n), load(v, va + 2 * n), load(v, va + 3 * n)
        y0 = y1 = y2 = y3 = zero
        for i in range(K):
            row, a, key, query = i * V + j, splat(decay, i), splat(k, at.k + i), splat(q, at.q + i)
            s0, s1 = a * load(S, row) + key * v0, a * load(S, row + n) + key * v1
            s2, s3 = a * load(S, row + 2 * n) + key * v2, a * load(S, row + 3 * n) + key * v3
            store(S, row, s0)
            store(S, row + n, s1)
            store(S, row + 2 * n, s2)
            store(S, row + 3 * n, s3)
            y0, y1, y2, y3 = y0 + query * s0, y1 + query * s1, y2 + query * s2, y3 + query * s3
        store(y, to + j, y0)
        store(y, to + j + n, y1)
        store(y, to + j + 2 * n, y2)
        store(y, to + j + 3 * n, y3)
        j += 4 * n
    while j < V:
        x, out = load(v, at.v + j), zero
        for i in range(K):
            s = splat(decay, i) * load(S, i * V + j) + splat(k, at.k + i) * x
            store(S, i * V + j, s)
            out = out + splat(q, at.q + i) * s
        store(y, to + j, out)
        j += n


@compiled
def forward(given, reset, start, y, final, sizes, first, last):
    """y (B,T,H,V), start and final (B,H,K,V)."""
    given, reset, y = borrowed((given, reset, y))
    T, H, K, V = sizes.T, sizes.H, sizes.K, sizes.V
    S, decay, size = aligned_zeros(K * V, start), aligned_zeros(K, start), K * V
    for unit in range(first, last):
        b, h = unit // H, unit % H
        task = Task(b, h, h // (H // sizes.G), h)
        copy(start, unit * size, S, 0, size)
        for t in range(T):
            if reset.size and reset[b, t]:
                clear(S, 0, size)
            fill_decay(decay, given, reset, task, t, sizes)
            step(S, decay, given, rows_at(given, given.v, task, t, 0), y, ((b * T + t) * H + h) * V, K, V)
        copy(S, 0, final, unit * size, size)


@compiled
def backward_sweep(dS, decay, given, dy, at, grads, to, less, partial, slab):
    """dS = G + q dy^T, G = diag(decay) dS, decay of the token after; dk += dS v, dv = dS^T k, dg += less k * G v."""
    q, k, v, dk, dv, dg, K, N = given.q.data, given.k.data, given.v.data, grads.k, grads.v, grads.g, slab.K, slab.N
    n, zero, own = len(load(q, at.q)), full(dS.dtype.type(0)), dot(dS, v, at.v, dy, at.dy, N)
    i, along = 0, zero
    while i + 4 * n <= K:
        f0, f1, f2, f3 = load(decay, i), load(decay, i + n), load(decay, i + 2 * n), load(decay, i + 3 * n)
        k0, k1, k2, k3 = load(k, at.k + i), load(k, at.k + i + n), load(k, at.k + i + 2 * n), load(k, at.k + i + 3 * n)
        q0, q1, q2, q3 = load(q, at.q + i), load(q, at.q + i + n), load(q, at.q + i + 2 * n), load(q, at.q + i + 3 * n)
        t0 = t1 = t2 = t3 = zero
        for j in range(N):
            row, grad, x = i * N + j * 4 * n, splat(dy, at.dy + j), splat(v, at.v + j)
            d0, d1, d2 = f0 * load(dS, row), f1 * load(dS, row + n), f2 * load(dS, row + 2 * n)
            d3 = f3 * load(dS, row + 3 * n)
            t0, t1, t2, t3 = t0 + d0 * x, t1 + d1 * x, t2 + d2 * x, t3 + d3 * x
            d0, d1, d2, d3 = d0 + q0 * grad, d1 + q1 * grad, d2 + q2 * grad, d3 + q3 * grad
            store(dS, row, d0)
            store(dS, row + n, d1)
            store(dS, row + 2 * n, d2)
            store(dS, row + 3 * n, d3)
            both = (d0 * k0 + d1 * k1) + (d2 * k2 + d3 * k3)
            store(partial, j * n, both + load(partial, j * n) if i else both)
        accumulate(slab.new_k, dk, to.k + i, t0 + q0 * own)
        accumulate(slab.new_k, dk, to.k + i + n, t1 + q1 * own)
        accumulate(slab.new_k, dk, to.k + i + 2 * n, t2 + q2 * own)
        accumulate(slab.new_k, dk, to.k + i + 3 * n, t3 + q3 * own)
        if slab.W == 1:
            along = along + ((k0 * t0 + k1 * t1) + (k2 * t2 + k3 * t3))
        else:
            accumulate(slab.new, dg, to.g + i, less * k0 * t0)
            accumulate(slab.new, dg, to.g + i + n, less * k1 * t1)
            accumulate(slab.new, dg, to.g + i + 2 * n, less * k2 * t2)
            accumulate(slab.new, dg, to.g + i + 3 * n, less * k3 * t3)
        i += 4 * n
    while i < K:
        f, key, query, out = load(decay, i), load(k, at.k + i), load(q, at.q + i), zero
        for j in range(N):
            row = i * N + j * n
            d = f * load(dS, row)
            out = out + d * splat(v, at.v + j)
            d = d + query * splat(dy, at.dy + j)
            store(dS, row, d)
            store(partial, j * n, d * key + load(partial, j * n) if i else d * key)
        accumulate(slab.new_k, dk, to.k + i, out + query * own)
        if slab.W == 1:
            along = along + key * out
        else:
            accumulate(slab.new, dg, to.g + i, less * key * out)
        i += n
    if slab.W == 1:
        dg[to.g] = (dg.dtype.type(0) if slab.new else dg[to.g]) + reduce_add(less * along)
    for j in range(0, N, n):
        store(dv, to.v + j, reduce_rows(partial, j * n))


@compiled
def forward_replay(S, decay, given, dy, at, grads, to, slab):
    """S = P + k v^T, P = diag(decay) S; dq += S dy, dg += q * P dy."""
    q, k, v, dq, dg, K, N = given.q.data, given.k.data, given.v.data, grads.q, grads.g, slab.K, slab.N
    n, zero, own = len(load(q, at.q)), full(S.dtype.type(0)), dot(S, v, at.v, dy, at.dy, N)
    i, along = 0, zero
    while i + 4 * n <= K:
        f0, f1, f2, f3 = load(decay, i), load(decay, i + n), load(decay, i + 2 * n), load(decay, i + 3 * n)
        k0, k1, k2, k3 = load(k, at.k + i), load(k, at.k + i + n), load(k, at.k + i + 2 * n), load(k, at.k + i + 3 * n)
        t0 = t1 = t2 = t3 = zero
        for j in range(N):
            row, x, grad = i * N + j * 4 * n, splat(v, at.v + j), splat(dy, at.dy + j)
            s0, s1 = f0 * load(S, row), f1 * load(S, row + n)
            s2, s3 = f2 * load(S, row + 2 * n), f3 * load(S, row + 3 * n)
            t0, t1, t2, t3 = t0 + s0 * grad, t1 + s1 * grad, t2 + s2 * grad, t3 + s3 * grad
            store(S, row, s0 + k0 * x)
            store(S, row + n, s1 + k1 * x)
            store(S, row + 2 * n, s2 + k2 * x)
            store(S, row + 3 * n, s3 + k3 * x)
        accumulate(slab.new_k, dq, to.q + i, t0 + k0 * own)
        accumulate(slab.new_k, dq, to.q + i + n, t1 + k1 * own)
        accumulate(slab.new_k, dq, to.q + i + 2 * n, t2 + k2 * own)
        accumulate(slab.new_k, dq, to.q + i + 3 * n, t3 + k3 * own)
        t0, t1 = t0 * load(q, at.q + i), t1 * load(q, at.q + i + n)
        t2, t3 = t2 * load(q, at.q + i + 2 * n), t3 * load(q, at.q + i + 3 * n)
        if slab.W == 1:
            along = along + ((t0 + t1) + (t2 + t3))
        else:
            accumulate(False, dg, to.g + i, t0)
            accumulate(False, dg, to.g + i + n, t1)
            accumulate(False, dg, to.g + i + 2 * n, t2)
            accumulate(False, dg, to.g + i + 3 * n, t3)
        i += 4 * n
    while i < K:
        f, key, out = load(decay, i), load(k, at.k + i), zero
        for j in range(N):
            row = i * N + j * n
            s = f * load(S, row)
            out = out + s * splat(dy, at.dy + j)
            store(S, row, s + key * splat(v, at.v + j))
        accumulate(slab.new_k, dq, to.q + i, out + key * own)
        if slab.W == 1:
            along = along + out * load(q, at.q + i)
        else:
            accumulate(False, dg, to.g + i, out * load(q, at.q + i))
        i += n
    if slab.W == 1:
        dg[to.g] += reduce_add(along)


@inlined
def prefetch_inputs(given, dy, at, slab):
    """Ask for a token's rows."""
    prefetch_row(given.q.data, at.q, slab.K)
    prefetch_row(given.k.data, at.k, slab.K)
    prefetch_row(given.v.data, at.v, slab.N)
    prefetch_row(dy, at.dy, slab.N)
    prefetch_row(given.g.data, at.g, slab.W)


@compiled
def backward(given, reset, start, dy, end, grads, sizes, first, last):
    """start and end (B,H,K,V): the first state, and the gradient of the last one."""
    given, reset, dy, grads = borrowed((given, reset, dy, grads))
    T, H, K, V, W, R = sizes.T, sizes.H, sizes.K, sizes.V, sizes.W, sizes.R
    most, one = slab_columns(K, V), end.dtype.type(1)
    S, decay, partial = aligned_zeros(K * most, end), aligned_zeros(K, end), aligned_zeros(most * 16, end)
    later = np.zeros(W, np.float64)  # the sum of a whole row may be large beside one token's
    for unit in range(first * R, last * R):
        b, h = unit // H, unit % H
        task = Task(b, h, h // (H // sizes.G), h // R)
        later[:] = 0  # what the state behind a token and the gradient from later ones have in common
        for column in range(0, V, most):
            corner, new = unit * K * V + column, column == 0
            slab = Slab(K, min(most, V - column), W, new and unit % R == 0, new)
            transposed(end, corner, V, S, K, slab.N)
            decay[:] = one
            for t in range(T - 1, -1, -1):
                at, to = rows_at(given, dy, task, t, column), grads_at(task, t, column, sizes)
                soon = grads_at(task, t - PREFETCH, column, sizes)
                prefetch_inputs(given, dy.data, rows_at(given, dy, task, t - PREFETCH, column), slab)
                prefetch_row(grads.k, soon.k, K)
                prefetch_row(grads.v, soon.v, slab.N)
                prefetch_row(grads.g, soon.g, W)
                less = full(-one if t < T - 1 else one - one)
                backward_sweep(S, decay, given, dy.data, at, grads, to, less, partial, slab)
                fill_decay(decay, given, reset, task, t, sizes)
            for i in range(K):
                for j in range(slab.N):
                    grads.start[corner + i * V + j] = decay[i] * S[slab_index(j, i, K, slab.N, len(load(S, 0)))]
            transposed(start, corner, V, S, K, slab.N)
            for t in range(T):
                fill_decay(decay, given, reset, task, t, sizes)
                at, to = rows_at(given, dy, task, t, column), grads_at(task, t, column, sizes)
                soon = grads_at(task, t + PREFETCH, column, sizes)
                prefetch_inputs(given, dy.data, rows_at(given, dy, task, t + PREFETCH, column), slab)
                prefetch_row(grads.q, soon.q, K)
                prefetch_row(grads.g, soon.g, W)
                if t == T - 1:
                    add_row_dots(S, end, corner, V, later, W, K, slab.N)
                forward_replay(S, decay, given, dy.data, at, grads, to, slab)
        sum_over_later(grads.g, later, decay, reset, task, sizes)


@compiled
def sum_over_later(dg, later, decay, reset, task, sizes):
    """dg_t = dg_{t+1} and what a token changes; a reset ends the sum."""
    for i in range(sizes.W):
        later[i] *= decay[i]
    for t in range(sizes.T - 1, -1, -1):
        at = ((task.b * sizes.T + t) * sizes.H + task.h) * sizes.W
        for i in range(sizes.W):
            later[i] = 0 if reset.size and reset[task.b, t] else later[i] + dg[at + i]
            dg[at + i] = later[i]


@compiled
def instruction(code, none, many, first, last):
    """One token, or `many` of a row."""
    H, G, K, V, W = code[11], code[12], code[13], code[14], code[15]
    given = Inputs(
        operand(code, 1, many, K), operand(code, 3, many, K), operand(code, 5, many, V), operand(code, 7, many, W)
    )
    y, S = float32_at(code[9]), float32_at(code[10])
    forward(given, none, S, y, S, Sizes(many, H, G, K, V, W, 1, H), first, last)


def _whole(given: Given, dtype: torch.dtype) -> Any:
    """Whole rows of q, k, v, a gradient of y; and of log-decays where there are many."""
    many = [t.to(dtype) if i == 3 else loadable(t, dtype) for i, t in enumerate(given)]
    return [t if i == 3 and t.shape[-1] == 1 else padded(t) for i, t in enumerate(many)]


def _forward(given: Given, reset: Tensor | None, keep: bool) -> tuple[Tensor, Tensor, Given]:
    q, v, start = given[0], given[2], given[4]
    check_axes("btgk btgk bthv bthw bhkv bt", *given, reset)
    if v.shape[2] % q.shape[2] or given[3].shape[3] not in (1, q.shape[3]):
        raise ValueError(f"{v.shape[2]} heads of {given[3].shape[3]} decays with {tuple(q.shape[2:])} queries")
    rows = _whole(given[:4], state_dtype(v))
    (B, T, H, V), (_, _, G, K), W = rows[2].shape, rows[0].shape, rows[3].shape[3]
    y, final = rows[2].new_empty(B, T, H, V), rows[3].new_empty(B, H, K, V)
    begin = torch.zeros_like(final) if start is None else padded(start.to(final.dtype), 2).contiguous()
    inputs, out = Inputs(*map(strided, rows)), [raveled(t) for t in (begin, y, final)]
    parallel_for(forward, B * H, y.numel() * K, inputs, reset_bytes(reset), *out, Sizes(T, H, G, K, V, W, 1, H))
    return y[..., : v.shape[3]], final[..., : q.shape[3], : v.shape[3]], (begin,)


def _backward(given: Given, reset: Tensor | None, kept: Given, d_y: Tensor, d_final: Tensor) -> Given:
    rows = _whole((*given[:4], d_y), state_dtype(d_final))
    (B, T, H, V), (_, _, G, K), W = rows[2].shape, rows[0].shape, rows[3].shape[3]
    R = H // G if torch.get_num_threads() <= B * G else 1
    end = padded(d_final, 2).contiguous()
    once = R == 1 and H == G and slab_columns(K, V) >= V  # nothing is added to what was written
    dq, dk = (torch.empty(B, T, H // R, K, dtype=row.dtype if once else end.dtype) for row in rows[:2])
    dv = torch.empty_like(rows[2], memory_format=torch.contiguous_format)
    dg, d_start = end.new_empty(B, T, H, W), torch.empty_like(end)
    *inputs, dy = map(strided, rows)
    grads, sizes = Grads(*map(raveled, (dq, dk, dv, dg, d_start))), Sizes(T, H, G, K, V, W, R, H // R)
    ends = (raveled(kept[0]), dy, raveled(end))
    parallel_for(backward, B * H // R, dv.numel() * K, Inputs(*inputs), reset_bytes(reset), *ends, grads, sizes)
    if H // R != G:
        dq, dk = (t.unflatten(2, (G, -1)).sum(3) for t in (dq, dk))
    (K, V), W = d_final.shape[2:], given[3].shape[3]
    return dq[..., :K], dk[..., :K], dv[..., :V], dg[..., :W], d_start[..., :K, :V]


def decayed_scan(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, *, initial_state: Tensor | None = None,
    reset: Tensor | None = None,
) -> Any:  # fmt: skip
    return run(Form(_forward, _backward, decayed_scan_chunked), q, k, v, log_decay, initial_state, reset=reset)
