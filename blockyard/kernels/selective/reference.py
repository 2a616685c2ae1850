"""The token loop of a vector memory per channel."""

import torch
from torch import Tensor

from ..toolkit.chunks import stacked, state_dtype


def selective_scan_reference(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, *, initial_state: Tensor | None = None,
    reset: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The token loop."""
    dtype = state_dtype(x)
    xs, step, rate, write, read = (t.to(dtype) for t in (x, dt, A, B, C))
    state = x.new_zeros(x.shape[0], *A.shape, dtype=dtype) if initial_state is None else initial_state.to(dtype)
    out = []
    for t in range(x.shape[1]):
        if reset is not None:
            state = torch.where(reset[:, t, None, None], 0.0, state)
        decay = (step[:, t, :, None] * rate).exp()
        state = decay * state + (step[:, t] * xs[:, t])[..., None] * write[:, t, None, :]
        out.append((state @ read[:, t, :, None]).squeeze(-1))
    return stacked(out, x), state
