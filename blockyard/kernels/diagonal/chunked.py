"""The scan of a vector memory in pieces of SIZE tokens.

Inside pieces by doubling: what the s tokens before wrote and how far they decay, s = 1, 2, 4...; then a loop over
pieces. Decays are multiplied, never divided by, so a reset is a decay of zero.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..toolkit.chunks import LOG2E, start_of, state_dtype

SIZE = 32  # tokens in a piece


def diagonal_scan_chunked(
    x: Tensor, log_decay: Tensor, *, initial_state: Tensor | None = None, reset: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Pieces of SIZE tokens, then a loop over pieces."""
    dtype, (B, T, E) = state_dtype(x), x.shape
    decay, h = (log_decay.to(dtype) * LOG2E).exp2(), x.to(dtype)
    if reset is not None:
        decay = decay * ~reset.unsqueeze(-1)
    if T == 1:
        h = h if initial_state is None else torch.addcmul(h, decay, initial_state.to(dtype).unsqueeze(1))
        return h.to(x.dtype), h[:, 0]
    size = min(SIZE, max(1, T))
    pieces = max(1, -(-T // size))
    short = pieces * size - T
    h, decay = F.pad(h, (0, 0, 0, short)), F.pad(decay, (0, 0, 0, short), value=1.0)
    h, decay = (t.view(B, pieces, size, E) for t in (h, decay))
    s = 1
    while s < size:
        h = torch.addcmul(h, decay, F.pad(h[:, :, :-s], (0, 0, s, 0)))
        decay = decay * F.pad(decay[:, :, :-s], (0, 0, s, 0), value=1.0)
        s *= 2
    state, before = start_of(initial_state, h[:, 0, 0]), []
    for write, kept in zip(h[:, :, -1].unbind(1), decay[:, :, -1].unbind(1)):
        before.append(state)
        state = torch.addcmul(write, kept, state)
    h = torch.addcmul(h, decay, torch.stack(before, 1).unsqueeze(2))
    return h.flatten(1, 2)[:, :T].to(x.dtype), state
