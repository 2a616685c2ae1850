"""The token loop of a fading matrix memory."""

import torch
from torch import Tensor

from ..toolkit.chunks import stacked, state_dtype


def decayed_scan_reference(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, *, initial_state: Tensor | None = None,
    reset: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The token loop."""
    dtype = state_dtype(v)
    B, T, H, V = v.shape
    K = q.shape[-1]
    q, k = every_head(q, v), every_head(k, v)
    keys, values, decay = k.to(dtype), v.to(dtype), log_decay.to(dtype).exp()
    state = v.new_zeros(B, H, K, V, dtype=dtype) if initial_state is None else initial_state.to(dtype)
    out = []
    for t in range(T):
        if reset is not None:
            state = torch.where(reset[:, t, None, None, None], 0.0, state)
        state = state * decay[:, t, :, :, None] + keys[:, t, :, :, None] * values[:, t, :, None, :]
        out.append((q[:, t, :, None, :].to(dtype) @ state).squeeze(-2))
    return stacked(out, v), state


def every_head(x: Tensor, v: Tensor) -> Tensor:
    repeat = v.shape[2] // x.shape[2]
    return x if repeat == 1 else x.repeat_interleave(repeat, 2)
