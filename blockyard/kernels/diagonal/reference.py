"""The token loop of a vector memory."""

import torch
from torch import Tensor

from ..toolkit.chunks import stacked, start_of, state_dtype


def diagonal_scan_reference(
    x: Tensor, log_decay: Tensor, *, initial_state: Tensor | None = None, reset: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The token loop."""
    dtype = state_dtype(x)
    writes, decay = x.to(dtype), log_decay.to(dtype).exp()
    state = start_of(initial_state, writes.new_empty(x.shape[0], x.shape[2]))
    out = []
    for t in range(x.shape[1]):
        if reset is not None:
            state = torch.where(reset[:, t, None], 0.0, state)
        state = decay[:, t] * state + writes[:, t]
        out.append(state)
    return stacked(out, x), state
