"""The scan of a fading matrix memory: matrix products inside pieces, a short loop over pieces.

With b the sum of log-decays since the piece began and S0 the state before it:
    y = (q e^b) S0 + A v          A_ts = sum_d q_td k_sd e^(b_td - b_sd), s <= t
    S = e^(b_C) S0 + (k e^(b_C - b))^T v
No exponent is ever positive, so no decay overflows.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..toolkit.chunks import LOG2E, merge, segments, spans, split, start_of, state_dtype
from .reference import every_head


def decayed_scan_chunked(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, *, initial_state: Tensor | None = None,
    reset: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Matrix products inside pieces, a short loop over pieces."""
    if v.shape[1] == 1:
        return _step(q, k, v, log_decay, initial_state, reset)
    scalar = log_decay.shape[-1] == 1
    size = _even(v.shape[1]) if scalar else _power(v.shape[1])
    pieces = max(1, -(-v.shape[1] // size))
    if not scalar:
        q, k = every_head(q, v), every_head(k, v)
    queries, keys, values = split(q, pieces, size), split(k, pieces, size), split(v, pieces, size)
    log2_decay = split(log_decay, pieces, size).mul(LOG2E)
    if scalar:
        pair, into, out = (s.exp2() for s in spans(log2_decay))
        weights = _per_head(_flat(queries) @ _flat(keys).transpose(1, 2), queries, pair)
    else:
        weights, into, out = _decayed_scores(_flat(queries), _flat(keys), _flat(log2_decay))
        weights, into, out = (
            weights.view(*log2_decay.shape[:-1], size),
            into.view_as(log2_decay).exp2(),
            out.view_as(log2_decay).exp2(),
        )
    through = into[..., -1:, :].transpose(-1, -2)
    if reset is not None:
        same, sees, stays, passes = segments(reset, pieces, size)
        weights, into, out, through = weights * same, into * sees, out * stays, through * passes
    writes = torch.bmm(_flat(_per_head(keys, keys, out)).transpose(1, 2), _flat(values))
    writes = writes.view(*values.shape[:3], *writes.shape[1:])
    state, before = start_of(initial_state, writes[0]), []
    for write, kept in zip(writes.unbind(0), through.unbind(0)):
        before.append(state)
        state = torch.addcmul(write, kept, state)
    y = torch.bmm(_flat(_per_head(queries, queries, into)), _flat(torch.stack(before)))
    y = torch.baddbmm(y, _flat(weights), _flat(values))
    return merge(y.view_as(values), v), state


def _step(q, k, v, log_decay, initial_state, reset):
    dtype = state_dtype(v)
    key, value = every_head(k, v)[:, 0, :, :, None].to(dtype), v[:, 0, :, None, :].to(dtype)
    if initial_state is None:
        state = key * value
    else:
        kept = log_decay[:, 0, :, :, None].to(dtype).exp()
        if reset is not None:
            kept = kept * ~reset[:, 0, None, None, None]
        state = torch.addcmul(key * value, kept, initial_state.to(dtype))
    return (every_head(q, v)[:, 0, :, None, :].to(dtype) @ state).transpose(1, 2).to(v.dtype), state


def _even(T: int) -> int:
    """Pieces of equal size: 32 tokens while the loop over pieces is short, then 64 (measured on one thread)."""
    size = 32 if T <= 256 else 64
    return -(-T // -(-T // size)) if T else 1


def _power(T: int) -> int:
    """Halving needs a power of two; smaller pieces cost less where rows are short (measured on one thread)."""
    size = 1
    while size < min(T, 16 if T <= 256 else 32):
        size *= 2
    return size


def _flat(x: Tensor) -> Tensor:
    return x.reshape(-1, *x.shape[-2:])


def _per_head(x: Tensor, grouped: Tensor, factor: Tensor) -> Tensor:
    """x, one per group of heads, times a factor of every head (N,B,H,...)."""
    N, B, G = grouped.shape[:3]
    x = x.view(N, B, G, 1, *x.shape[-2:]) * factor.unflatten(2, (G, -1))
    return x.flatten(2, 3)


def _decayed_scores(q: Tensor, k: Tensor, log2_decay: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A_ts = sum_d q_td k_sd 2^(decays after s, up to t), s <= t, of (M,C,K) inputs, by halves.

    Of a block, the later half reads the earlier half through the border between them: (q 2^(decays from the border up
    to t)) (k 2^(decays after s, up to the border))^T, with one exponential per token and level; then blocks of two
    blocks, from single tokens up. Also gives the decays up to t and those after s: sums of their own (see `Spans`).
    """
    C, K = q.shape[1:]
    scores, into, after = (q * k).sum(-1).view(-1, 1, 1), log2_decay, torch.zeros_like(log2_decay)
    size = 1
    while size < C:
        (_, late_q), (early_k, _), ahead, behind = (t.view(-1, 2, size, K).unbind(1) for t in (q, k, into, after))
        late_q, early_k = late_q * ahead[1].exp2(), early_k * behind[0].exp2()
        if size < 4:
            across = (late_q.unsqueeze(2) * early_k.unsqueeze(1)).sum(-1)  # quicker than many tiny matmuls
        else:
            across = torch.bmm(late_q, early_k.transpose(1, 2))
        first, second = scores.view(-1, 2, size, size).unbind(1)
        scores = torch.cat([F.pad(first, (0, size)), torch.cat([across, second], -1)], 1)
        into = torch.cat([ahead[0], ahead[1] + ahead[0][:, -1:]], 1)
        after = torch.cat([behind[0] + ahead[1][:, -1:], behind[1]], 1)
        size *= 2
    return scores, into, after
