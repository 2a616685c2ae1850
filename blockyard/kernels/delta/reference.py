"""The token loop of the delta rule."""

import torch
from torch import Tensor

from ..toolkit.chunks import stacked, state_dtype


def delta_scan_reference(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor | None = None, *,
    initial_state: Tensor | None = None, reset: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The token loop."""
    dtype = state_dtype(v)
    B, T, H, V = v.shape
    K = q.shape[-1]
    keys, values, rate = k.to(dtype), v.to(dtype), beta.to(dtype)
    decay = None if log_decay is None else log_decay.to(dtype).exp()
    state = v.new_zeros(B, H, K, V, dtype=dtype) if initial_state is None else initial_state.to(dtype)
    out = []
    for t in range(T):
        if reset is not None:
            state = torch.where(reset[:, t, None, None, None], 0.0, state)
        if decay is not None:
            state = state * decay[:, t, :, None, None]
        key = keys[:, t, :, None, :]
        write = rate[:, t, :, None, None] * (values[:, t, :, None, :] - key @ state)
        state = state + key.transpose(-1, -2) * write
        out.append((q[:, t, :, None, :].to(dtype) @ state).squeeze(-2))
    return stacked(out, v), state
