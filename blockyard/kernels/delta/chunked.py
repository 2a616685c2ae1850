"""The scan of the delta rule by the UT transform: what tokens erase of one another is one triangular system a piece.

With b the sum of log-decays since the piece began, D_ts = e^(b_t - b_s) for s <= t, S0 the state before the piece:
    U, W = (I + tril(diag(beta) k k^T * D, -1))^-1 diag(beta) [v, k e^b]
    y = (q e^b) S0 + (q k^T * D) (U - W S0)
    S = (e^(b_C) I - (k e^(b_C - b))^T W) S0 + (k e^(b_C - b))^T U
so that the loop over pieces is one product each. The system is solved in the state's precision.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ..toolkit.chunks import LOG2E, merge, segments, spans, split, start_of, state_dtype


def delta_scan_chunked(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor | None = None, *,
    initial_state: Tensor | None = None, reset: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """One triangular system a piece, a loop of one product over pieces."""
    if v.shape[1] == 1:
        return _step(q, k, v, beta, log_decay, initial_state, reset)
    V, K = v.shape[-1], k.shape[-1]
    limit = 32 if v.shape[1] <= 512 else 64  # measured on one thread; longer rows want fewer turns of the loop
    pieces = max(1, -(-v.shape[1] // limit))
    size = max(1, -(-v.shape[1] // pieces))
    queries, keys, values = split(q, pieces, size), split(k, pieces, size), split(v, pieces, size)
    rate = split(beta.unsqueeze(-1), pieces, size)
    decays = _decays(values, log_decay, reset, pieces, size)
    flat_keys, scaled = _flat(keys).transpose(1, 2), keys * rate
    erase = torch.bmm(_flat(scaled), flat_keys) * decays.pair
    one = torch.eye(size, dtype=values.dtype, device=values.device)
    # an explicit inverse, then a product, is faster than solving for V+K columns; the upper triangle is never read
    inverse = torch.linalg.solve_triangular(erase, one.expand_as(erase), upper=False, unitriangular=True)
    known = torch.bmm(inverse, _flat(torch.cat([values * rate, scaled * decays.into], -1)))
    scores = torch.bmm(_flat(queries), flat_keys) * decays.pair
    effect = torch.bmm(_flat(keys * decays.out).transpose(1, 2), known).view(pieces, -1, K, V + K)
    writes, erased = effect.split([V, K], -1)
    carry = torch.eye(K, dtype=values.dtype, device=values.device) * decays.through - erased
    state, before = start_of(initial_state, values.new_empty(*values.shape[1:3], K, V)).flatten(0, 1), []
    for write, kept in zip(writes.unbind(0), carry.unbind(0)):
        before.append(state)
        state = torch.baddbmm(write, kept, state)
    start = _flat(torch.stack(before))
    written = torch.baddbmm(known[..., :V], known[..., V:], start, alpha=-1)
    y = torch.baddbmm(torch.bmm(_flat(queries * decays.into), start), scores, written)
    return merge(y.view_as(values), v), state.view(*values.shape[1:3], K, V)


class _Decays(NamedTuple):
    pair: Tensor  # (M,C,C) from token s to token t, zero where s > t
    into: Tensor | float  # (N,B,H,C,1) from before the piece to token t
    out: Tensor | float  # (N,B,H,C,1) from token s to the end of the piece
    through: Tensor  # (N,B*H,1,1) over the whole piece


def _decays(values: Tensor, log_decay: Tensor | None, reset: Tensor | None, pieces: int, size: int) -> _Decays:
    shape = (*values.shape[:3], size, size)
    if log_decay is None:
        pair, into, out, through = values.new_ones(size, size).tril(), 1.0, 1.0, values.new_ones(1, 1, 1, 1, 1)
    else:
        pair, into, out = (s.exp2() for s in spans(split(log_decay.unsqueeze(-1), pieces, size).mul(LOG2E)))
        through = into[..., -1:, :]
    if reset is not None:
        same, sees, stays, passes = segments(reset, pieces, size)
        pair, into, out = pair * same, into * sees, out * stays
        through = through * passes
    through = through.expand(*shape[:3], 1, 1).flatten(1, 2)
    return _Decays(pair if pair.dim() == 2 else _flat(pair.expand(shape)), into, out, through)


def _flat(x: Tensor) -> Tensor:
    return x.reshape(-1, *x.shape[-2:])


def _step(q, k, v, beta, log_decay, initial_state, reset):
    dtype = state_dtype(v)
    key, value, rate = k[:, 0, :, None, :].to(dtype), v[:, 0, :, None, :].to(dtype), beta[:, 0, :, None, None].to(dtype)
    if initial_state is None:
        state = key.transpose(-1, -2) * (rate * value)
    else:
        state = initial_state.to(dtype)
        if log_decay is not None:
            state = state * log_decay[:, 0, :, None, None].to(dtype).exp()
        if reset is not None:
            state = state * ~reset[:, 0, None, None, None]
        state = torch.addcmul(state, key.transpose(-1, -2), rate * (value - key @ state))
    return (q[:, 0, :, None, :].to(dtype) @ state).transpose(1, 2).to(v.dtype), state
