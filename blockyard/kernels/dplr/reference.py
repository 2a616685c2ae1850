"""The token loop of a memory whose transition is diagonal plus rank one."""

import torch
from torch import Tensor

from ..toolkit.chunks import stacked, state_dtype


def dplr_scan_reference(
    q: Tensor, k: Tensor, v: Tensor, a: Tensor, b: Tensor, log_decay: Tensor, *, initial_state: Tensor | None = None,
    reset: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The token loop."""
    dtype = state_dtype(v)
    B, T, H, V = v.shape
    K = q.shape[-1]
    queries, keys, values, reads, backs = (x.to(dtype) for x in (q, k, v, a, b))
    decay = log_decay.to(dtype).exp()
    state = v.new_zeros(B, H, K, V, dtype=dtype) if initial_state is None else initial_state.to(dtype)
    out = []
    for t in range(T):
        if reset is not None:
            state = torch.where(reset[:, t, None, None, None], 0.0, state)
        read = reads[:, t, :, None, :] @ state
        write = backs[:, t, :, :, None] * read + keys[:, t, :, :, None] * values[:, t, :, None, :]
        state = state * decay[:, t, :, :, None] + write
        out.append((queries[:, t, :, None, :] @ state).squeeze(-2))
    return stacked(out, v), state
