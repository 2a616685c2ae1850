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

`decay` is a, log-decays are g. n is the length of a vector, N how many columns of V a slab has; x0 to x3 are four
neighbouring vectors of x. `own` is what a token reads of itself.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..toolkit.arrays import Strided, check_axes, loadable, padded, raveled, reset_bytes, strided
from ..toolkit.autograd import Form, Given, run
from ..toolkit.chunks import state_dtype
from ..toolkit.compile import PREFETCH, aligned_zeros, clear, compiled, copy, inlined, offset, prefetch_row
from ..toolkit.lanes import PAD, exponential, full, load, reduce_add, reduce_rows, splat, store
from ..toolkit.machine import borrowed, float32_at, operand
from ..toolkit.parallel import parallel_for
from ..toolkit.slab import accumulate, add_row_dots, dot, slab_columns, slab_index, transposed
from .chunked import delta_scan_chunked


class Inputs(NamedTuple):
    """q, k (B,T,H,K), beta and g (B,T,H,1); no numbers where there is no g."""

    q: Strided
    k: Strided
    beta: Strided
    g: Strided


class Grads(NamedTuple):
    """dq, dk (B,T,H,K), dv (B,T,H,V), dbeta, dg (B,T,H), and that of the first state (B,H,K,V)."""

    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    beta: np.ndarray
    g: np.ndarray
    start: np.ndarray


class Sizes(NamedTuple):
    T: int
    H: int
    K: int
    V: int


class Token(NamedTuple):
    """Where its rows of q, k and v (or dy) begin, those of dq and dk, and those of y, dv and e; its head; its beta."""

    q: int
    k: int
    v: int
    to_k: int
    to_v: int
    head: int
    beta: Any


class Found(NamedTuple):
    """What a token's key and query find in the state, and what is to be written."""

    key: np.ndarray
    query: np.ndarray
    write: np.ndarray


class Work(NamedTuple):
    """w of the token after (N), and sums of its own in every lane (N vectors)."""

    w: np.ndarray
    partial: np.ndarray


class Slab(NamedTuple):
    """N columns of (K,V); whether nothing was added to dq, dk, dbeta and dg before."""

    K: int
    N: int
    new: bool


@inlined
def decay_of(like, given, reset, b, t, h):
    """What a token leaves of the state; a reset leaves nothing."""
    if reset.size and reset[b, t]:
        return like.dtype.type(0)
    return exponential(given.g.data[offset(given.g, b, t, h)]) if given.g.data.size else like.dtype.type(1)


@inlined
def token_at(given, v, b, t, h, column, sizes):
    """A token of a head, its values from a column on."""
    head, q, k = (b * sizes.T + t) * sizes.H + h, offset(given.q, b, t, h), offset(given.k, b, t, h)
    beta = given.beta.data[offset(given.beta, b, t, h)]
    return Token(q, k, offset(v, b, t, h) + column, head * sizes.K, head * sizes.V + column, head, beta)


@inlined
def prefetch_token(given, dy, errors, grads, b, t, h, column, sizes, slab):
    """Ask for what backward reads and writes of it."""
    head = (b * sizes.T + t) * sizes.H + h
    prefetch_row(given.q.data, offset(given.q, b, t, h), slab.K)
    prefetch_row(given.k.data, offset(given.k, b, t, h), slab.K)
    prefetch_row(dy.data, offset(dy, b, t, h) + column, slab.N)
    prefetch_row(errors, head * sizes.V + column, slab.N)
    prefetch_row(grads.k, head * sizes.K, slab.K)
    prefetch_row(grads.v, head * sizes.V + column, slab.N)


@compiled
def delta_step(S, decay, given, before, token, found, K, V):
    """S = decay S + k u^T, k and u of the token before; found: S^T k, S^T q. Two vectors of V at once: their sums wait
    less for one another."""
    q, k, u = given.q.data, given.k.data, found.write
    n, j, zero, kept = len(load(u, 0)), 0, full(u.dtype.type(0)), full(decay)
    while j + 2 * n <= V:
        u0, u1 = load(u, j), load(u, j + n)
        f0 = f1 = r0 = r1 = zero
        for i in range(K):
            row, write, key, query = i * V + j, splat(k, before + i), splat(k, token.k + i), splat(q, token.q + i)
            s0, s1 = kept * load(S, row) + write * u0, kept * load(S, row + n) + write * u1
            store(S, row, s0)
            store(S, row + n, s1)
            f0, f1, r0, r1 = f0 + key * s0, f1 + key * s1, r0 + query * s0, r1 + query * s1
        store(found.key, j, f0)
        store(found.key, j + n, f1)
        store(found.query, j, r0)
        store(found.query, j + n, r1)
        j += 2 * n
    while j < V:
        x, f, r = load(u, j), zero, zero
        for i in range(K):
            s = kept * load(S, i * V + j) + splat(k, before + i) * x
            store(S, i * V + j, s)
            f, r = f + splat(k, token.k + i) * s, r + splat(q, token.q + i) * s
        store(found.key, j, f)
        store(found.query, j, r)
        j += n


@compiled
def read_out(decay, given, v, token, found, e, ea, y, sizes):
    """The rest of a token: what is written, and the answer with it."""
    q, k, u = given.q.data, given.k.data, found.write
    both, kept, beta, n = full(u.dtype.type(0)), full(decay), full(token.beta), len(load(u, 0))
    for i in range(0, sizes.K, n):
        both = both + load(k, token.k + i) * load(q, token.q + i)
    both = full(reduce_add(both))
    for j in range(0, sizes.V, n):
        error = load(v, token.v + j) - kept * load(found.key, j)
        write = beta * error
        store(e, ea + j, error)
        store(u, j, write)
        store(y, token.to_v + j, kept * load(found.query, j) + both * write)


@compiled
def forward(given, v, reset, start, y, final, errors, sizes, first, last):
    """y (B,T,H,V), start and final (B,H,K,V), errors (B,T,H,V) or nothing."""
    given, v, reset, y, errors = borrowed((given, v, reset, y, errors))
    T, H, K, V = sizes
    one, size = start.dtype.type(1), K * V
    S, error = aligned_zeros(size, start), aligned_zeros(V, start)
    found = Found(aligned_zeros(V, start), aligned_zeros(V, start), aligned_zeros(V, start))
    for task in range(first, last):
        b, h = task // H, task % H
        copy(start, task * size, S, 0, size)
        clear(found.write, 0, V)
        decay, before = one, offset(given.k, b, 0, h)  # of the write that is still to be done
        for t in range(T):
            if reset.size and reset[b, t]:
                clear(S, 0, size)
                clear(found.write, 0, V)
            token = token_at(given, v, b, t, h, 0, sizes)
            delta_step(S, decay, given, before, token, found, K, V)
            decay = exponential(given.g.data[offset(given.g, b, t, h)]) if given.g.data.size else one
            e, ea = (errors, token.to_v) if errors.size else (error, 0)
            read_out(decay, given, v.data, token, found, e, ea, y, sizes)
            before = token.k
        delta_step(S, decay, given, before, Token(before, before, 0, 0, 0, 0, one), found, K, V)
        copy(S, 0, final, task * size, size)


@compiled
def backward_sweep(dS, decay, given, before, errors, dy, token, dk, work, slab):
    """dS = G + q dy^T, G = decay (dS - k w^T), decay, k and w of the token after; dk += beta dS e, partial: dS^T k.

    Gives beta k . G e.
    """
    q, k, e, K, N = given.q.data, given.k.data, errors, slab.K, slab.N
    n, zero, kept, rate = len(load(k, token.k)), full(dS.dtype.type(0)), full(decay), full(token.beta)
    less, i, along, own = zero - kept, 0, zero, dot(dS, e, token.to_v, dy, token.v, N)
    while i + 4 * n <= K:
        m0, m1 = less * load(k, before + i), less * load(k, before + i + n)
        m2, m3 = less * load(k, before + i + 2 * n), less * load(k, before + i + 3 * n)
        k0, k1, k2, k3 = (
            load(k, token.k + i),
            load(k, token.k + i + n),
            load(k, token.k + i + 2 * n),
            load(k, token.k + i + 3 * n),
        )
        q0, q1, q2, q3 = (
            load(q, token.q + i),
            load(q, token.q + i + n),
            load(q, token.q + i + 2 * n),
            load(q, token.q + i + 3 * n),
        )
        t0 = t1 = t2 = t3 = zero
        for j in range(N):
            row, grad, x, lost = i * N + j * 4 * n, splat(dy, token.v + j), splat(e, token.to_v + j), splat(work.w, j)
            d0, d1 = kept * load(dS, row) + m0 * lost, kept * load(dS, row + n) + m1 * lost
            d2, d3 = kept * load(dS, row + 2 * n) + m2 * lost, kept * load(dS, row + 3 * n) + m3 * lost
            t0, t1, t2, t3 = t0 + d0 * x, t1 + d1 * x, t2 + d2 * x, t3 + d3 * x
            d0, d1, d2, d3 = d0 + q0 * grad, d1 + q1 * grad, d2 + q2 * grad, d3 + q3 * grad
            store(dS, row, d0)
            store(dS, row + n, d1)
            store(dS, row + 2 * n, d2)
            store(dS, row + 3 * n, d3)
            both = (d0 * k0 + d1 * k1) + (d2 * k2 + d3 * k3)
            store(work.partial, j * n, both + load(work.partial, j * n) if i else both)
        along = along + ((k0 * t0 + k1 * t1) + (k2 * t2 + k3 * t3))
        accumulate(slab.new, dk, token.to_k + i, rate * (t0 + q0 * own))
        accumulate(slab.new, dk, token.to_k + i + n, rate * (t1 + q1 * own))
        accumulate(slab.new, dk, token.to_k + i + 2 * n, rate * (t2 + q2 * own))
        accumulate(slab.new, dk, token.to_k + i + 3 * n, rate * (t3 + q3 * own))
        i += 4 * n
    while i < K:
        m, key, query, out = less * load(k, before + i), load(k, token.k + i), load(q, token.q + i), zero
        for j in range(N):
            row = i * N + j * n
            d = kept * load(dS, row) + m * splat(work.w, j)
            out = out + d * splat(e, token.to_v + j)
            d = d + query * splat(dy, token.v + j)
            store(dS, row, d)
            store(work.partial, j * n, d * key + load(work.partial, j * n) if i else d * key)
        along = along + key * out
        accumulate(slab.new, dk, token.to_k + i, rate * (out + query * own))
        i += n
    return reduce_add(rate * along)


@compiled
def forward_replay(S, decay, given, errors, dy, token, grads, slab):
    """S = P + beta k e^T, P = decay S; dq += S dy, dk -= P w; gives q . P dy - k . P w."""
    q, k, e, w, dq, dk, K, N = given.q.data, given.k.data, errors, grads.v, grads.q, grads.k, slab.K, slab.N
    n, zero, kept, rate = len(load(k, token.k)), full(S.dtype.type(0)), full(decay), full(token.beta)
    i, along, own = 0, zero, rate * dot(S, e, token.to_v, dy, token.v, N)
    while i + 4 * n <= K:
        k0, k1, k2, k3 = (
            load(k, token.k + i),
            load(k, token.k + i + n),
            load(k, token.k + i + 2 * n),
            load(k, token.k + i + 3 * n),
        )
        w0, w1, w2, w3 = rate * k0, rate * k1, rate * k2, rate * k3
        t0 = t1 = t2 = t3 = r0 = r1 = r2 = r3 = zero
        for j in range(N):
            row, x, grad, lost = (
                i * N + j * 4 * n,
                splat(e, token.to_v + j),
                splat(dy, token.v + j),
                splat(w, token.to_v + j),
            )
            s0, s1 = kept * load(S, row), kept * load(S, row + n)
            s2, s3 = kept * load(S, row + 2 * n), kept * load(S, row + 3 * n)
            r0, r1, r2, r3 = r0 + s0 * lost, r1 + s1 * lost, r2 + s2 * lost, r3 + s3 * lost
            t0, t1, t2, t3 = t0 + s0 * grad, t1 + s1 * grad, t2 + s2 * grad, t3 + s3 * grad
            store(S, row, s0 + w0 * x)
            store(S, row + n, s1 + w1 * x)
            store(S, row + 2 * n, s2 + w2 * x)
            store(S, row + 3 * n, s3 + w3 * x)
        store(dk, token.to_k + i, load(dk, token.to_k + i) - r0)
        store(dk, token.to_k + i + n, load(dk, token.to_k + i + n) - r1)
        store(dk, token.to_k + i + 2 * n, load(dk, token.to_k + i + 2 * n) - r2)
        store(dk, token.to_k + i + 3 * n, load(dk, token.to_k + i + 3 * n) - r3)
        accumulate(slab.new, dq, token.to_k + i, t0 + k0 * own)
        accumulate(slab.new, dq, token.to_k + i + n, t1 + k1 * own)
        accumulate(slab.new, dq, token.to_k + i + 2 * n, t2 + k2 * own)
        accumulate(slab.new, dq, token.to_k + i + 3 * n, t3 + k3 * own)
        t0, t1 = load(q, token.q + i) * t0 - k0 * r0, load(q, token.q + i + n) * t1 - k1 * r1
        t2, t3 = load(q, token.q + i + 2 * n) * t2 - k2 * r2, load(q, token.q + i + 3 * n) * t3 - k3 * r3
        along = along + ((t0 + t1) + (t2 + t3))
        i += 4 * n
    while i < K:
        key, out, back = load(k, token.k + i), zero, zero
        for j in range(N):
            row = i * N + j * n
            s = kept * load(S, row)
            back = back + s * splat(w, token.to_v + j)
            out = out + s * splat(dy, token.v + j)
            store(S, row, s + rate * key * splat(e, token.to_v + j))
        store(dk, token.to_k + i, load(dk, token.to_k + i) - back)
        accumulate(slab.new, dq, token.to_k + i, out + key * own)
        along = along + (load(q, token.q + i) * out - key * back)
        i += n
    return reduce_add(along)


@compiled
def finish_token(work, errors, token, dv, N):
    """dv = w = beta times dS^T k; gives dbeta."""
    n, beta = len(load(errors, token.to_v)), full(token.beta)
    d_beta = full(dv.dtype.type(0))
    for j in range(0, N, n):
        du = reduce_rows(work.partial, j * n)
        d_beta = d_beta + du * load(errors, token.to_v + j)
        store(work.w, j, beta * du)
        store(dv, token.to_v + j, beta * du)
    return reduce_add(d_beta)


@compiled
def backward(given, reset, start, errors, dy, end, grads, sizes, first, last):
    """start and end (B,H,K,V): the first state, and the gradient of the last one."""
    given, reset, errors, dy, grads = borrowed((given, reset, errors, dy, grads))
    T, H, K, V = sizes
    most, one, none = slab_columns(K, V), end.dtype.type(1), end.dtype.type(0)
    S, row, work = (
        aligned_zeros(K * most, end),
        aligned_zeros(K, end),
        Work(aligned_zeros(most, end), aligned_zeros(most * 16, end)),
    )
    later = np.zeros(1, np.float64)  # the sum of a whole row may be large beside one token's
    for task in range(first, last):
        b, h = task // H, task % H
        later[0] = 0
        for column in range(0, V, most):
            corner, slab = task * K * V + column, Slab(K, min(most, V - column), column == 0)
            transposed(end, corner, V, S, K, slab.N)
            clear(work.w, 0, slab.N)
            decay, before = one, offset(given.k, b, T - 1, h)
            for t in range(T - 1, -1, -1):
                token = token_at(given, dy, b, t, h, column, sizes)
                prefetch_token(given, dy, errors, grads, b, t - PREFETCH, h, column, sizes, slab)
                more = backward_sweep(S, decay, given, before, errors, dy.data, token, grads.k, work, slab)
                dg, d_beta = (none, none) if slab.new else (grads.g[token.head], grads.beta[token.head])
                grads.g[token.head] = dg - (more if t < T - 1 else none)
                grads.beta[token.head] = d_beta + finish_token(work, errors, token, grads.v, slab.N)
                decay, before = decay_of(end, given, reset, b, t, h), token.k
            copy(given.k.data, before, row, 0, K)
            for i in range(K):
                for j in range(slab.N):
                    s = S[slab_index(j, i, K, slab.N, len(load(S, 0)))]
                    grads.start[corner + i * V + j] = decay * (s - row[i] * work.w[j])
            transposed(start, corner, V, S, K, slab.N)
            for t in range(T):
                token = token_at(given, dy, b, t, h, column, sizes)
                decay = decay_of(end, given, reset, b, t, h)
                prefetch_token(given, dy, errors, grads, b, t + PREFETCH, h, column, sizes, slab)
                prefetch_row(grads.q, token.to_k + PREFETCH * H * K, K)
                if t == T - 1:
                    add_row_dots(S, end, corner, V, later, 1, K, slab.N)
                grads.g[token.head] += forward_replay(S, decay, given, errors, dy.data, token, grads, slab)
        later[0] *= decay
        for t in range(T - 1, -1, -1):
            head = (b * T + t) * H + h
            later[0] = 0 if reset.size and reset[b, t] else later[0] + grads.g[head]
            grads.g[head] = later[0]


@compiled
def instruction(code, none, many, first, last):
    """One token, or `many` of a row."""
    H, K, V, empty, g = code[13], code[14], code[15], float32_at(0)[:0], operand(code, 9, many, 1)
    g = g if code[9] else Strided(empty, g.strides)
    given = Inputs(operand(code, 1, many, K), operand(code, 3, many, K), operand(code, 7, many, 1), g)
    y, S = float32_at(code[11]), float32_at(code[12])
    forward(given, operand(code, 5, many, V), none, S, y, S, empty, Sizes(many, H, K, V), first, last)


def _rows(given: Given, dtype: torch.dtype, *wanted: int) -> list[Strided]:
    """Those of `given` as whole rows; one number a head stays one."""
    none = torch.empty(0, 0, 0, 0, dtype=dtype)
    found = [none if given[i] is None else given[i] for i in wanted]
    return [strided(t.to(dtype).unsqueeze(-1) if t.dim() == 3 else padded(loadable(t, dtype))) for t in found]


def _forward(given: Given, reset: Tensor | None, keep: bool) -> tuple[Tensor, Tensor, Given]:
    q, v, start = given[0], given[2], given[5]
    check_axes("bthk bthk bthv bth bth bhkv bt", *given, reset)
    (B, T, H, V), K, like = v.shape, q.shape[3], torch.empty(0, dtype=state_dtype(v))
    broad, deep = K + -K % PAD, V + -V % PAD
    *inputs, values = _rows(given, like.dtype, 0, 1, 3, 4, 2)
    y, final = v.new_empty(B, T, H, deep), like.new_empty(B, H, broad, deep)
    errors = like.new_empty(B, T if keep else 0, H, deep)
    begin = torch.zeros_like(final) if start is None else padded(start.to(like.dtype), 2).contiguous()
    out = [raveled(t) for t in (begin, y, final, errors)]
    sizes, marks = Sizes(T, H, broad, deep), reset_bytes(reset)
    parallel_for(forward, B * H, y.numel() * broad, Inputs(*inputs), values, marks, *out, sizes)
    return y[..., :V], final[..., :K, :V], (begin, errors)


def _backward(given: Given, reset: Tensor | None, kept: Given, d_y: Tensor, d_final: Tensor) -> Given:
    start, errors = kept
    (B, T, H, V), K, like = errors.shape, start.shape[2], errors
    *inputs, dy = _rows((*given, d_y), like.dtype, 0, 1, 3, 4, 6)
    dq, dk = like.new_empty(2, B, T, H, K)
    d_beta, dg = like.new_empty(2, B, T, H)
    end, dv = padded(d_final, 2).contiguous(), torch.empty_like(errors)
    d_start = torch.empty_like(end)
    grads = Grads(*map(raveled, (dq, dk, dv, d_beta, dg, d_start)))
    ends = (raveled(start), raveled(errors), dy, raveled(end))
    parallel_for(backward, B * H, dv.numel() * K, Inputs(*inputs), reset_bytes(reset), *ends, grads, Sizes(T, H, K, V))
    K, V = d_final.shape[2:]
    return dq[..., :K], dk[..., :K], dv[..., :V], d_beta, None if given[4] is None else dg, d_start[..., :K, :V]


def delta_scan(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor | None = None, *,
    initial_state: Tensor | None = None, reset: Tensor | None = None,
) -> Any:  # fmt: skip
    return run(Form(_forward, _backward, delta_scan_chunked), q, k, v, beta, log_decay, initial_state, reset=reset)
