"""The scan of a memory whose transition is diagonal plus rank one: one triangular system a piece.

With e_t the decays since the piece began, D_ts = e_t / e_s channel by channel, S0 the state before the piece, and the
readings u_t = S_{t-1}^T a_t, which see what is before their own token alone:
    u = (1 - A_ab)^-1 (A_ak v + (a e_{t-1}) S0)            A_ak = tril(sum_d a_t D_{t-1,s} k_s, -1), A_ab with b
    y = (q e) S0 + A_qk v + A_qb u                         A_qk = tril(sum_d q_t D_ts k_s), A_qb with b
    S = e_C S0 + (k D_C)^T v + (b D_C)^T u
so that the loop over pieces is one product each. No exponent is ever positive, so no decay overflows.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..toolkit.chunks import LOG2E, merge, segments, split, start_of, state_dtype
from ..toolkit.scores import decayed_scores, power_of_two


def dplr_scan_chunked(
    q: Tensor, k: Tensor, v: Tensor, a: Tensor, b: Tensor, log_decay: Tensor, *, initial_state: Tensor | None = None,
    reset: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """One triangular system a piece, a loop of one product over pieces."""
    if v.shape[1] == 1:
        return _step(q, k, v, a, b, log_decay, initial_state, reset)
    V, K = v.shape[-1], k.shape[-1]
    size = power_of_two(v.shape[1])
    pieces = max(1, -(-v.shape[1] // size))
    queries, keys, values, reads, backs = (split(x, pieces, size) for x in (q, k, v, a, b))
    found = _scores(queries, keys, reads, backs, split(log_decay, pieces, size).mul(LOG2E), reset)
    one = torch.eye(size, dtype=values.dtype, device=values.device)
    inverse = torch.linalg.solve_triangular(one - found.ab, one.expand_as(found.ab), upper=False, unitriangular=True)
    known = torch.bmm(inverse, torch.cat([torch.bmm(found.ak, _flat(values)), _flat(reads * found.before)], -1))
    kept_keys, kept_backs = (_flat(x * found.out).transpose(1, 2) for x in (keys, backs))
    effect = torch.bmm(kept_backs, known).view(pieces, -1, K, V + K)
    writes = effect[..., :V] + torch.bmm(kept_keys, _flat(values)).view(pieces, -1, K, V)
    carry = effect[..., V:] + torch.diag_embed(found.through)
    state, before = start_of(initial_state, values.new_empty(*values.shape[1:3], K, V)).flatten(0, 1), []
    for write, kept in zip(writes.unbind(0), carry.unbind(0)):
        before.append(state)
        state = torch.baddbmm(write, kept, state)
    start = _flat(torch.stack(before))
    read = torch.baddbmm(known[..., :V], known[..., V:], start)
    y = torch.bmm(_flat(queries * found.into), start) + torch.bmm(found.qk, _flat(values)) + torch.bmm(found.qb, read)
    return merge(y.view_as(values), v), state.view(*values.shape[1:3], K, V)


class _Scores(NamedTuple):
    ak: Tensor  # (M,C,C) what a token's reading finds of keys before it, M pieces of all heads
    ab: Tensor
    qk: Tensor  # the same of its query, and of its own key
    qb: Tensor
    before: Tensor  # (N,B,H,C,K) decays from before the piece up to the token before t
    into: Tensor  # up to token t
    out: Tensor  # from after token s to the end of the piece
    through: Tensor  # (N,B*H,K) over the whole piece


def _scores(q: Tensor, k: Tensor, a: Tensor, b: Tensor, log2_decay: Tensor, reset: Tensor | None) -> _Scores:
    shape, size = log2_decay.shape, q.shape[3]
    # a token's reading is one of the token before: that of the first token finds nothing inside the piece
    early = F.pad(_flat(a)[:, 1:], (0, 0, 0, 1))
    found, into, out = decayed_scores(
        torch.stack([_flat(q), early], 2), torch.stack([_flat(k), _flat(b)], 2), _flat(log2_decay)
    )
    reads, queries = F.pad(found[:, :-1, 1], (0, 0, 0, 0, 1, 0)), found[:, :, 0]
    into, out = into.view(shape).exp2(), out.view(shape).exp2()
    before, through = F.pad(into[..., :-1, :], (0, 0, 1, 0), value=1.0), into[..., -1, :]
    if reset is not None:
        same, sees, stays, passes = segments(reset, shape[0], size)
        before, into, out, through = before * sees, into * sees, out * stays, through * passes.squeeze(-1)
        same = same.expand(*shape[:3], size, size).reshape(-1, size, size, 1)
        reads, queries = reads * same, queries * same
    (ak, ab), (qk, qb) = reads.unbind(-1), queries.unbind(-1)
    return _Scores(ak, ab, qk, qb, before, into, out, through.flatten(1, 2))


def _flat(x: Tensor) -> Tensor:
    return x.reshape(-1, *x.shape[-2:])


def _step(q, k, v, a, b, log_decay, initial_state, reset):
    dtype = state_dtype(v)
    key, value = k[:, 0, :, :, None].to(dtype), v[:, 0, :, None, :].to(dtype)
    if initial_state is None:
        state = key * value
    else:
        state = initial_state.to(dtype)
        if reset is not None:
            state = state * ~reset[:, 0, None, None, None]
        read = a[:, 0, :, None, :].to(dtype) @ state
        state = torch.addcmul(key * value, state, log_decay[:, 0, :, :, None].to(dtype).exp())
        state = torch.addcmul(state, b[:, 0, :, :, None].to(dtype), read)
    return (q[:, 0, :, None, :].to(dtype) @ state).transpose(1, 2).to(v.dtype), state
