"""Softmax attention.

    y_t = sum_s w_ts v_s          w_t. = softmax over the s that t may see of (scale q_t.k_s + bias_ts)

Shapes   q (B,T,H,D)   k (B,S,G,D)   v (B,S,G,V)   mask bool or float, (B or 1, 1 or H, T, S)   G divides H
Source   arXiv 1706.03762; grouped heads 2305.13245; windows 2004.05150, sinks 2309.17453

With `causal`, query t of T sees the first S-T+t+1 keys, so S > T reads a past. Of those, a `window` leaves the last so
many, and the first `sinks` keys. A query that may see nothing gives zero.

Counted are the pairs that see each other. The fused kernel also computes those that a mask hides; under a window
without a mask it takes the queries in blocks of half a window, or of 128, each with the keys that any of them may see.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .dispatch import Op


def _seen(queries: range, places: Tensor, window: int | None, sinks: int) -> Tensor:
    """(T,S) whether the query at a place may see the key at another one."""
    apart = torch.arange(queries.start, queries.stop, device=places.device)[:, None] - places
    return apart >= 0 if window is None else (apart >= 0) & ((apart < window) | (places < sinks))


def _folded(see: Tensor, mask: Tensor | None) -> Tensor:
    """What both let through, of the mask's kind."""
    if mask is None:
        return see
    return mask & see if mask.dtype == torch.bool else mask.masked_fill(~see, float("-inf"))


def _visible(q: Tensor, k: Tensor, causal: bool, mask: Tensor | None, window: int | None, sinks: int) -> Tensor | None:
    """`mask` with causality folded in."""
    if not causal:
        if window is not None:
            raise ValueError(f"window={window} needs causal=True: it counts keys from the query back")
        return mask
    T, S = q.shape[1], k.shape[1]
    return _folded(_seen(range(S - T, S), torch.arange(S, device=q.device), window, sinks), mask)


def attend_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    causal: bool = True,
    mask: Tensor | None = None,
    window: int | None = None,
    sinks: int = 0,
    scale: float | None = None,
) -> Tensor:
    """The dense formula."""
    dtype = torch.float64 if q.dtype == torch.float64 else torch.float32
    repeat = q.shape[2] // k.shape[2]
    see = _visible(q, k, causal, mask, window, sinks)
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


def attend_fused(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    causal: bool = True,
    mask: Tensor | None = None,
    window: int | None = None,
    sinks: int = 0,
    scale: float | None = None,
) -> Tensor:
    """The fused kernel, in single precision and in blocks where those are faster."""
    factor: float = q.shape[-1] ** -0.5 if scale is None else scale
    if not _single_pays(q):
        return _attend(q, k, v, causal, mask, window, sinks, factor)
    with torch.autocast("cpu", enabled=False):
        return _attend(q.float(), k.float(), v.float(), causal, mask, window, sinks, factor).to(v.dtype)


FEW = 32  # queries up to which the keys' casts cost more than they save: measured


def _single_pays(q: Tensor) -> bool:
    """On a CPU the fused kernel is as fast in single precision as in half, its gradient six times, and rounds less."""
    half = q.dtype == torch.bfloat16 or (q.dtype == torch.float32 and torch.is_autocast_enabled("cpu"))
    return half and q.device.type == "cpu" and q.shape[1] >= FEW


def _attend(
    q: Tensor, k: Tensor, v: Tensor, causal: bool, mask: Tensor | None, window: int | None, sinks: int, scale: float
) -> Tensor:
    """Causal by the kernel itself where query t sees t+1 keys."""
    T, S = q.shape[1], k.shape[1]
    if causal and mask is None:
        if window is not None and max(window, BLOCK) < T:
            return _in_blocks(q, k, v, window, sinks, scale)
        if T in (1, S) and (window is None or window >= S):
            return _fused(q, k, v, None, T == S, scale)
    return _fused(q, k, v, _visible(q, k, causal, mask, window, sinks), False, scale)


def _added(see: Tensor | None, q: Tensor) -> Tensor | None:
    """What the kernel adds to scores: single numbers also where half ones are multiplied, on a CPU."""
    if see is None or see.dtype == torch.bool:
        return see
    return see.to(torch.float32 if q.dtype == torch.bfloat16 and q.device.type == "cpu" else q.dtype)


def _fused(q: Tensor, k: Tensor, v: Tensor, see: Tensor | None, causal: bool, scale: float) -> Tensor:
    width, V = max(q.shape[-1], v.shape[-1]), v.shape[-1]
    y = F.scaled_dot_product_attention(
        _widen(q, width).transpose(1, 2),
        _widen(k, width).transpose(1, 2),
        _widen(v, width).transpose(1, 2),
        attn_mask=_added(see, q),
        is_causal=causal,
        scale=scale,
        enable_gqa=q.shape[2] != k.shape[2],
    )
    return y.transpose(1, 2)[..., :V]


BLOCK = 128  # queries at least


def _in_blocks(q: Tensor, k: Tensor, v: Tensor, window: int, sinks: int, scale: float) -> Tensor:
    """Blocks of queries half as long as the window, each with the keys that any of them may see."""
    past, size, answers = k.shape[1] - q.shape[1], max(window // 2, BLOCK), []
    for i, rows in enumerate(q.split(size, 1)):
        at = range(past + i * size, past + i * size + rows.shape[1])
        low, end = max(0, at.start + 1 - window), max(0, at.stop)
        first = min(sinks, low)
        places = torch.cat([torch.arange(n, m, device=q.device) for n, m in ((0, first), (low, end))])
        keys, values = (torch.cat([x[:, :first], x[:, low:end]], 1) if first else x[:, low:end] for x in (k, v))
        answers.append(_fused(rows, keys, values, _seen(at, places, window, sinks), False, scale))
    return torch.cat(answers, 1)


def _widen(x: Tensor, width: int) -> Tensor:
    """Zeros to one common width: fused kernels want keys as wide as values, other paths are slower."""
    return x if x.shape[-1] == width else F.pad(x, (0, width - x.shape[-1]))


def _below(places: int, window: int | None, sinks: int) -> int:
    """How many pairs the causal queries at the first so many places have: those of the window, then those of sinks."""
    near = places if window is None else min(places, window)
    far = places - near
    some = min(far, sinks)
    return near * (near + 1) // 2 + far * near + some * (some + 1) // 2 + (far - some) * some


def _flops(q, k, v, *, causal=True, mask=None, window=None, sinks=0, scale=None) -> int:
    B, T, H, D = q.shape
    S = k.shape[1]  # with fewer keys than queries the first ones see nothing
    pairs = _below(S, window, sinks) - _below(max(0, S - T), window, sinks) if causal else T * S
    return B * H * pairs * (2 * D + 2 * v.shape[-1] + 5)


def _fake(q, k, v, *, causal=True, mask=None, window=None, sinks=0, scale=None):
    return v.new_empty(*q.shape[:-1], v.shape[-1])


attend = Op("attend", reference=attend_reference, chunked=attend_fused, flops=_flops, fake=_fake, precise=False)
