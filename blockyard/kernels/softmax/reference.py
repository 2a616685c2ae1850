"""Softmax attention by the dense formula: scores, what they weigh, and what comes of the values."""

from typing import Any

import torch
from torch import Tensor

from .mask import visible


def attend_reference(
    q: Tensor, k: Tensor, v: Tensor, *, causal: bool = True, mask: Tensor | None = None, window: int | None = None,
    sinks: int = 0, scale: float | None = None, spans: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The dense formula."""
    how: dict[str, Any] = dict(causal=causal, mask=mask, window=window, sinks=sinks, spans=spans)
    return attend_values(attend_weights(attend_scores(q, k, scale=scale, **how)), v)


def attend_scores(
    q: Tensor, k: Tensor, *, causal: bool = True, mask: Tensor | None = None, window: int | None = None, sinks: int = 0,
    scale: float | None = None, spans: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """(B,H,T,S) how well each query meets each key, its bias added; minus infinity where it does not see it."""
    see = visible(q, k, causal, mask, window, sinks, spans)
    queries, keys = (_wide(t).transpose(1, 2) for t in (q, k))
    keys = keys.repeat_interleave(q.shape[2] // k.shape[2], 1)
    scores = (queries @ keys.transpose(-1, -2)) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if see is None:
        return scores
    return scores.masked_fill(~see, float("-inf")) if see.dtype == torch.bool else scores + see


def attend_weights(scores: Tensor) -> Tensor:
    """(B,H,T,S) the softmax of scores over the keys; zeros for a query that sees none."""
    blind = (scores == float("-inf")).all(-1, keepdim=True)
    return scores.masked_fill(blind, 0.0).softmax(-1).masked_fill(blind, 0.0)


def attend_values(weights: Tensor, v: Tensor) -> Tensor:
    """(B,T,H,V) the values (B,S,G,V) as weights (B,H,T,S) count them."""
    values = _wide(v).transpose(1, 2).repeat_interleave(weights.shape[1] // v.shape[2], 1)
    return (weights @ values).transpose(1, 2).to(v.dtype)


def _wide(t: Tensor) -> Tensor:
    return t if t.dtype == torch.float64 else t.float()
