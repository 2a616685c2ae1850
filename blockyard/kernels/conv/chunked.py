"""The short filter as W shifted multiply-adds, up to four times faster on CPU than the framework's grouped convolution.

Strided with gaps or segments are closed up, filtered with a mask per tap, and spread again.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..toolkit.chunks import state_dtype


def causal_conv_chunked(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, tail: Tensor | None = None, valid: Tensor | None = None,
    reset: Tensor | None = None, silu: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """W shifted multiply-adds."""
    T, taps = x.shape[1], weight.t().to(state_dtype(x)).contiguous()  # rows of strided taps halve the speed
    past = F.pad(x, (0, 0, taps.shape[0] - 1, 0)) if tail is None else torch.cat([tail.to(x.dtype), x], 1)
    if valid is not None or reset is not None:
        y, tail = _ragged(past, x, taps, bias, valid, reset)
        return F.silu(y) if silu else y, tail
    past_wide = past.to(taps.dtype)
    offset = taps.new_zeros(()) if bias is None else bias.to(taps.dtype)
    if T == 1:
        y = (past_wide * taps).sum(1, keepdim=True) + offset
    else:
        y = _Taps.apply(past_wide, taps, offset)
    y = y.to(x.dtype)
    return F.silu(y) if silu else y, past[:, T:].clone()  # a view would keep the whole piece alive


class _Taps(torch.autograd.Function):
    """y_t = offset + sum_j taps_j past_{t+j} of past (B,T+W-1,C) and taps (W,C), accumulated in place."""

    generate_vmap_rule = True

    @staticmethod
    def forward(past, taps, offset):
        T = past.shape[1] - taps.shape[0] + 1
        y = torch.addcmul(offset, past[:, :T], taps[0])
        for j in range(1, taps.shape[0]):
            y.addcmul_(past[:, j : j + T], taps[j])
        return y

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, d_y):
        past, taps, offset = ctx.saved_tensors
        W, T = taps.shape[0], d_y.shape[1]
        d_past = torch.zeros_like(past)
        for j in range(W):
            d_past[:, j : j + T].addcmul_(d_y, taps[j])
        d_taps = torch.stack([(d_y * past[:, j : j + T]).sum((0, 1)) for j in range(W)])
        return d_past, d_taps, d_y.sum((0, 1)) if offset.dim() else None


def _ragged(past, x, taps, bias, valid, reset):
    """Valid tokens moved to the front of each row, filtered with a mask per tap, and moved back."""
    B, T, W = *x.shape[:2], taps.shape[0]
    number = torch.zeros_like(x[..., 0], dtype=torch.long) if reset is None else reset.cumsum(1)
    here, count = number, torch.full((B, 1), T, device=x.device)
    if valid is not None:
        order = (~valid).to(torch.uint8).argsort(dim=1, stable=True)
        past = torch.cat([past[:, : W - 1], _take(x, order)], 1)
        here, count = number.gather(1, order), valid.sum(1, keepdim=True)
    there = F.pad(here, (W - 1, 0))
    y = taps.new_zeros(()) if bias is None else bias
    for j in range(W):
        seen = (there[:, j : j + T] == here).unsqueeze(-1)
        y = y + past[:, j : j + T] * (taps[j] * seen)
    if valid is not None:
        y = _take(y, (valid.cumsum(1) - 1).clamp(min=0)) * valid.unsqueeze(-1)
    last = count + torch.arange(W - 1, device=x.device)
    live = there.gather(1, last) == F.pad(number, (1, 0))[:, -1:]
    return y.to(x.dtype), _take(past, last) * live.unsqueeze(-1)


def _take(x: Tensor, index: Tensor) -> Tensor:
    return x.gather(1, index.unsqueeze(-1).expand(-1, -1, x.shape[-1]))
