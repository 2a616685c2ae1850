"""A vector memory whose every element fades and is written by itself.

    h_t = exp(log_decay_t) * h_{t-1} + x_t

Shapes   x, log_decay, h (B,T,E)   state (B,E)
         reset (B,T) bool: nothing is remembered from before such a token
Source   arXiv 2311.04823 (gated, with layer-wise lower bounds), 2410.01201 (minimal recurrences)

Log-decays are finite and at most 0. The state is float32, float64 for float64 inputs; h has the dtype of x. A token
with x = 0 and log_decay = 0 leaves no trace.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ._chunks import LOG2E, stacked, start_of, wide
from .dispatch import Op, compiled

SIZE = 32  # tokens in a piece


def diagonal_scan_reference(
    x: Tensor, log_decay: Tensor, *, initial_state: Tensor | None = None, reset: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The token loop."""
    dtype = wide(x)
    writes, fade = x.to(dtype), log_decay.to(dtype).exp()
    state = start_of(initial_state, writes.new_empty(x.shape[0], x.shape[2]))
    out = []
    for t in range(x.shape[1]):
        if reset is not None:
            state = torch.where(reset[:, t, None], 0.0, state)
        state = fade[:, t] * state + writes[:, t]
        out.append(state)
    return stacked(out, x), state


def diagonal_scan_chunked(
    x: Tensor, log_decay: Tensor, *, initial_state: Tensor | None = None, reset: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Inside pieces by doubling: what the s tokens before wrote and how far they fade, s = 1, 2, 4...; then a loop over
    pieces. Fades are multiplied, never divided by, so a reset is a fade of zero."""
    dtype, (B, T, E) = wide(x), x.shape
    fade, h = (log_decay.to(dtype) * LOG2E).exp2(), x.to(dtype)
    if reset is not None:
        fade = fade * ~reset.unsqueeze(-1)
    if T == 1:
        h = h if initial_state is None else torch.addcmul(h, fade, initial_state.to(dtype).unsqueeze(1))
        return h.to(x.dtype), h[:, 0]
    size = min(SIZE, max(1, T))
    pieces = max(1, -(-T // size))
    short = pieces * size - T
    h, fade = F.pad(h, (0, 0, 0, short)), F.pad(fade, (0, 0, 0, short), value=1.0)
    h, fade = (t.view(B, pieces, size, E) for t in (h, fade))
    s = 1
    while s < size:
        h = torch.addcmul(h, fade, F.pad(h[:, :, :-s], (0, 0, s, 0)))
        fade = fade * F.pad(fade[:, :, :-s], (0, 0, s, 0), value=1.0)
        s *= 2
    state, before = start_of(initial_state, h[:, 0, 0]), []
    for write, kept in zip(h[:, :, -1].unbind(1), fade[:, :, -1].unbind(1)):
        before.append(state)
        state = torch.addcmul(write, kept, state)
    h = torch.addcmul(h, fade, torch.stack(before, 1).unsqueeze(2))
    return h.flatten(1, 2)[:, :T].to(x.dtype), state


def _flops(x, log_decay, *, initial_state=None, reset=None) -> int:
    return 3 * x.numel()


def _fake(x, log_decay, *, initial_state=None, reset=None):
    return x.new_empty(x.shape), x.new_empty(x.shape[0], x.shape[2], dtype=wide(x))


diagonal_scan = Op(
    "diagonal_scan",
    reference=diagonal_scan_reference,
    chunked=diagonal_scan_chunked,
    cpu=compiled("diagonal", diagonal_scan_chunked),
    flops=_flops,
    fake=_fake,
)
