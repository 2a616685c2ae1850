"""The token loop of a scalar memory; there is no other form."""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ..toolkit.chunks import stacked, state_dtype

NEVER = -1e30  # the logarithm of nothing: what is divided by e^m before the first token


def slstm_scan_reference(
    x: Tensor, recurrent: Tensor, *, initial_state: Tensor | None = None, reset: Tensor | None = None,
    valid: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The token loop."""
    dtype = state_dtype(x)
    B, T, _, H, P = x.shape
    gates, recurrent = x.to(dtype), recurrent.to(dtype)
    none = x.new_zeros(B, 4, H, P, dtype=dtype)
    none[:, 3] = NEVER
    state = none if initial_state is None else initial_state.to(dtype)
    out = []
    for t in range(T):
        if reset is not None:
            state = torch.where(reset[:, t, None, None, None], none, state)
        h, c, n, m = state.unbind(1)
        i, f, z, o = (gates[:, t] + torch.einsum("ghpr,bhr->bghp", recurrent, h)).unbind(1)
        faded = logsigmoid(f) + m
        peak = torch.maximum(faded, i)
        keep, write = (faded - peak).exp(), (i - peak).exp()
        c, n = keep * c + write * z.tanh(), keep * n + write
        h = o.sigmoid() * c / n
        later = torch.stack([h, c, n, peak], 1)
        state = later if valid is None else torch.where(valid[:, t, None, None, None], later, state)
        out.append(h)
    return stacked(out, x) if out else x[:, :, 0], state
