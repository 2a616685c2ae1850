"""The token loop of the short filter: a window of the last W valid tokens moves over each row."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..toolkit.chunks import stacked, state_dtype


def causal_conv_reference(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, tail: Tensor | None = None, valid: Tensor | None = None,
    reset: Tensor | None = None, silu: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The token loop: a window of the last W valid tokens moves over each row."""
    B, T, C = x.shape
    W = weight.shape[1]
    taps = weight.t().to(state_dtype(x))
    past = x.new_zeros(B, W - 1, C) if tail is None else tail.to(x.dtype)
    out = []
    for t in range(T):
        if reset is not None:
            past = torch.where(reset[:, t, None, None], 0.0, past)
        window = torch.cat([past, x[:, t : t + 1]], 1)
        y = (window.to(taps.dtype) * taps).sum(1)
        if bias is not None:
            y = y + bias
        if valid is None:
            past = window[:, 1:]
        else:
            counts = valid[:, t, None, None]
            past, y = torch.where(counts, window[:, 1:], past), torch.where(valid[:, t, None], y, 0.0)
        out.append(F.silu(y) if silu else y)
    return stacked(out, x), past
