"""Softmax attention by the dense formula."""

import torch
from torch import Tensor

from .mask import visible


def attend_reference(
    q: Tensor, k: Tensor, v: Tensor, *, causal: bool = True, mask: Tensor | None = None, window: int | None = None,
    sinks: int = 0, scale: float | None = None, spans: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The dense formula."""
    dtype = torch.float64 if q.dtype == torch.float64 else torch.float32
    repeat = q.shape[2] // k.shape[2]
    see = visible(q, k, causal, mask, window, sinks, spans)
    q, keys, values = (t.to(dtype).transpose(1, 2) for t in (q, k, v))
    if repeat > 1:
        keys, values = keys.repeat_interleave(repeat, 1), values.repeat_interleave(repeat, 1)
    scores = (q @ keys.transpose(-1, -2)) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if see is not None:
        scores = scores.masked_fill(~see, float("-inf")) if see.dtype == torch.bool else scores + see
        blind = (scores == float("-inf")).all(-1, keepdim=True)
        scores = scores.masked_fill(blind, 0.0)
        weights = scores.softmax(-1).masked_fill(blind, 0.0)
    else:
        weights = scores.softmax(-1)
    return (weights @ values).transpose(1, 2).to(v.dtype)
