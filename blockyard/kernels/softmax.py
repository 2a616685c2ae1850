"""Softmax attention.

    y_t = sum_s w_ts v_s          w_t. = softmax over the s that t may see of (scale q_t.k_s + bias_ts)

Shapes   q (B,T,H,D)   k (B,S,G,D)   v (B,S,G,V)   mask bool or float, (B or 1, 1 or H, T, S)   G divides H
Source   arXiv 1706.03762; grouped heads 2305.13245

With `causal`, query t of T sees the first S-T+t+1 keys, so S > T reads a past. A query that may see nothing gives zero.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .dispatch import Op


def _visible(q: Tensor, k: Tensor, causal: bool, mask: Tensor | None) -> Tensor | None:
    """`mask` with causality folded in, of the same kind."""
    if not causal:
        return mask
    T, S = q.shape[1], k.shape[1]
    past = torch.ones(T, S, dtype=torch.bool, device=q.device).tril(S - T)
    if mask is None:
        return past
    return mask & past if mask.dtype == torch.bool else mask.masked_fill(~past, float("-inf"))


def attend_reference(
    q: Tensor, k: Tensor, v: Tensor, *, causal: bool = True, mask: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """The dense formula."""
    dtype = torch.float64 if q.dtype == torch.float64 else torch.float32
    repeat = q.shape[2] // k.shape[2]
    q, keys, values = (t.to(dtype).transpose(1, 2) for t in (q, k, v))
    if repeat > 1:
        keys, values = keys.repeat_interleave(repeat, 1), values.repeat_interleave(repeat, 1)
    scores = (q @ keys.transpose(-1, -2)) * (q.shape[-1] ** -0.5 if scale is None else scale)
    see = _visible(q.transpose(1, 2), k, causal, mask)
    if see is not None:
        scores = scores.masked_fill(~see, float("-inf")) if see.dtype == torch.bool else scores + see
        blind = (scores == float("-inf")).all(-1, keepdim=True)
        scores = scores.masked_fill(blind, 0.0)
        weights = scores.softmax(-1).masked_fill(blind, 0.0)
    else:
        weights = scores.softmax(-1)
    return (weights @ values).transpose(1, 2).to(v.dtype)


def attend_fused(
    q: Tensor, k: Tensor, v: Tensor, *, causal: bool = True, mask: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """The framework's fused kernel; its own causal path where query t sees t+1 keys."""
    square = causal and mask is None and q.shape[1] == k.shape[1]
    see = None if square or (mask is None and q.shape[1] == 1) else _visible(q, k, causal, mask)
    if see is not None and see.dtype != torch.bool:
        see = see.to(q.dtype)
    (D, V), wide = (q.shape[-1], v.shape[-1]), max(q.shape[-1], v.shape[-1])
    y = F.scaled_dot_product_attention(
        _widen(q, wide).transpose(1, 2),
        _widen(k, wide).transpose(1, 2),
        _widen(v, wide).transpose(1, 2),
        attn_mask=see,
        is_causal=square,
        scale=D**-0.5 if scale is None else scale,
        enable_gqa=q.shape[2] != k.shape[2],
    )
    return y.transpose(1, 2)[..., :V]


def _widen(x: Tensor, width: int) -> Tensor:
    """Zeros to one common width: fused kernels want keys as wide as values, other paths are slower."""
    return x if x.shape[-1] == width else F.pad(x, (0, width - x.shape[-1]))


def _flops(q, k, v, *, causal=True, mask=None, scale=None) -> int:
    B, T, H, D = q.shape
    S = k.shape[1]
    queries = min(T, S)  # with fewer keys than queries the first ones see nothing
    pairs = queries * (2 * S - queries + 1) // 2 if causal else T * S
    return B * H * pairs * (2 * D + 2 * v.shape[-1] + 5)


def _fake(q, k, v, *, causal=True, mask=None, scale=None):
    return v.new_empty(*q.shape[:-1], v.shape[-1])


attend = Op("attend", reference=attend_reference, chunked=attend_fused, flops=_flops, fake=_fake, precise=False)
