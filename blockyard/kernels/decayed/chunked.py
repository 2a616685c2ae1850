"""The scan of a fading matrix memory: matrix products inside pieces, a short loop over pieces.

With b the sum of log-decays since the piece began and S0 the state before it:
    y = (q e^b) S0 + A v          A_ts = sum_d q_td k_sd e^(b_td - b_sd), s <= t
    S = e^(b_C) S0 + (k e^(b_C - b))^T v
No exponent is ever positive, so no decay overflows.
"""

import torch
from torch import Tensor

from ..toolkit.chunks import LOG2E, merge, segments, spans, split, start_of, state_dtype
from ..toolkit.scores import decayed_scores, power_of_two
from .reference import every_head


def decayed_scan_chunked(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, *, initial_state: Tensor | None = None,
    reset: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Matrix products inside pieces, a short loop over pieces."""
    if v.shape[1] == 1:
        return _step(q, k, v, log_decay, initial_state, reset)
    scalar = log_decay.shape[-1] == 1
    size = _even(v.shape[1]) if scalar else power_of_two(v.shape[1])
    pieces = max(1, -(-v.shape[1] // size))
    if not scalar:
        q, k = every_head(q, v), every_head(k, v)
    queries, keys, values = split(q, pieces, size), split(k, pieces, size), split(v, pieces, size)
    log2_decay = split(log_decay, pieces, size).mul(LOG2E)
    if scalar:
        pair, into, out = (s.exp2() for s in spans(log2_decay))
        weights = _per_head(_flat(queries) @ _flat(keys).transpose(1, 2), queries, pair)
    else:
        weights, into, out = decayed_scores(_flat(queries).unsqueeze(2), _flat(keys).unsqueeze(2), _flat(log2_decay))
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


def _flat(x: Tensor) -> Tensor:
    return x.reshape(-1, *x.shape[-2:])


def _per_head(x: Tensor, grouped: Tensor, factor: Tensor) -> Tensor:
    """x, one per group of heads, times a factor of every head (N,B,H,...)."""
    N, B, G = grouped.shape[:3]
    x = x.view(N, B, G, 1, *x.shape[-2:]) * factor.unflatten(2, (G, -1))
    return x.flatten(2, 3)
