"""Softmax attention by the framework's fused kernel, in single precision and in blocks where those are faster.

It also computes the pairs that a mask hides; under a window without a mask it takes the queries in blocks of half a
window, or of BLOCK, each with the keys that any of them may see.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .mask import folded, seen, visible, within

BLOCK = 128  # queries at least


FEW = 32  # queries up to which the keys' casts cost more than they save: measured


def attend_fused(
    q: Tensor, k: Tensor, v: Tensor, *, causal: bool = True, mask: Tensor | None = None, window: int | None = None,
    sinks: int = 0, scale: float | None = None, spans: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The fused kernel, in single precision and in blocks where those are faster."""
    if spans is not None:
        mask = folded(within(spans, k.shape[1]), mask)
    factor: float = q.shape[-1] ** -0.5 if scale is None else scale
    if not _single_pays(q):
        return _attend(q, k, v, causal, mask, window, sinks, factor)
    with torch.autocast("cpu", enabled=False):
        return _attend(q.float(), k.float(), v.float(), causal, mask, window, sinks, factor).to(v.dtype)


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
        if T in (S, 1) and (window is None or window >= S):
            return _fused(q, k, v, None, bool(T == S), scale)
    return _fused(q, k, v, visible(q, k, causal, mask, window, sinks), False, scale)


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


def _in_blocks(q: Tensor, k: Tensor, v: Tensor, window: int, sinks: int, scale: float) -> Tensor:
    """Blocks of queries half as long as the window, each with the keys that any of them may see."""
    past, size, answers = k.shape[1] - q.shape[1], max(window // 2, BLOCK), []
    for i, rows in enumerate(q.split(size, 1)):
        at = range(past + i * size, past + i * size + rows.shape[1])
        low, end = max(0, at.start + 1 - window), max(0, at.stop)
        first = min(sinks, low)
        places = torch.cat([torch.arange(n, m, device=q.device) for n, m in ((0, first), (low, end))])
        keys, values = (torch.cat([x[:, :first], x[:, low:end]], 1) if first else x[:, low:end] for x in (k, v))
        answers.append(_fused(rows, keys, values, seen(at, places, window, sinks), False, scale))
    return torch.cat(answers, 1)


def _widen(x: Tensor, width: int) -> Tensor:
    """Zeros to one common width: fused kernels want keys as wide as values, other paths are slower."""
    return x if x.shape[-1] == width else F.pad(x, (0, width - x.shape[-1]))
