"""Softmax attention.

    y_t = sum_s w_ts v_s          w_t. = softmax over the s that t may see of (scale q_t.k_s + bias_ts)

Shapes   q (B,T,H,D)   k (B,S,G,D)   v (B,S,G,V)   mask bool or float, (B or 1, 1 or H, T, S)   G divides H
Source   arXiv 1706.03762; grouped heads 2305.13245

With `causal`, query t of T sees the first S-T+t+1 keys, so S > T reads a past. A query that may see nothing gives zero.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.compiler import is_compiling

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
    """The fused kernel, causal by itself where query t sees t+1 keys; whole matrices where they are faster."""
    square = causal and mask is None and q.shape[1] == k.shape[1]
    if square and _dense_pays(q, k):
        return _dense(q, k, v, scale)
    if causal and mask is None and _blocks_pay(q, k):
        return _in_blocks(q, k, v, scale)
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


DENSE = 512  # the longest row at which whole score matrices beat the fused backward in bfloat16 on a CPU: measured


def _dense_pays(q: Tensor, k: Tensor) -> bool:
    """Training in bfloat16 on a CPU, short rows: the fused backward there runs at a fraction of the matrix rate."""
    short = q.shape[1] == k.shape[1] and 1 < q.shape[1] <= DENSE
    return short and q.dtype == torch.bfloat16 and q.device.type == "cpu" and torch.is_grad_enabled()


BLOCK = 256  # queries at a time, where no gradient is asked for
FEW = 32


def _blocks_pay(q: Tensor, k: Tensor) -> bool:
    """Reading in bfloat16 on a CPU: products of whole matrices take half of the time of the fused kernel."""
    many = FEW <= q.shape[1] <= k.shape[1] and q.dtype == torch.bfloat16 and q.device.type == "cpu"
    return many and not torch.is_grad_enabled() and not is_compiling()


def _in_blocks(q: Tensor, k: Tensor, v: Tensor, scale: float | None) -> Tensor:
    """Causal attention of some queries after others, each block with the keys that it may see."""
    (B, T, H, D), (S, G) = q.shape, k.shape[1:3]
    R = H // G  # queries that share keys stand side by side
    rows = q.unflatten(2, (G, R)).transpose(1, 2).reshape(B * G, T * R, D)
    keys, values = (t.transpose(1, 2).reshape(B * G, S, -1) for t in (k, v))
    unseen = q.new_full((min(BLOCK, T), min(BLOCK, T)), float("-inf")).triu_(1).repeat_interleave(R, 0)
    y = values.new_empty(B * G, T * R, values.shape[2])
    for start in range(0, T, BLOCK):
        end = min(start + BLOCK, T)
        n, seen = end - start, S - T + end
        scores = torch.bmm(rows[:, start * R : end * R], keys[:, :seen].transpose(1, 2))
        scores.mul_(D**-0.5 if scale is None else scale)
        scores[:, :, seen - n :] += unseen[: n * R, :n]
        y[:, start * R : end * R] = torch.bmm(scores.softmax(-1), values[:, :seen])
    return y.view(B, G, T, R, -1).transpose(1, 2).flatten(2, 3)


class _Dense(Function):
    """Causal attention by whole matrices: q (N,R T,D), k (N,T,D), v (N,T,V), R query heads a key head, stacked.

    With P the weights and dP = dY V^T:   dS = P (dP - sum P dP)   dQ = dS K   dK = dS^T Q   dV = P^T dY
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:  # pyright: ignore
        T = k.shape[1]
        unseen = torch.full((T, T), float("-inf"), dtype=q.dtype).triu_(1).repeat(q.shape[1] // T, 1)
        weights = torch.baddbmm(unseen, q, k.transpose(1, 2), alpha=scale).softmax(-1)
        ctx.save_for_backward(q, k, v, weights)
        ctx.scale = scale
        return weights @ v

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:  # pyright: ignore
        q, k, v, weights = ctx.saved_tensors
        ds = torch.ops.aten._softmax_backward_data(dy @ v.transpose(1, 2), weights, -1, weights.dtype)
        dq, dk = (ds @ k).mul_(ctx.scale), (ds.transpose(1, 2) @ q).mul_(ctx.scale)
        return dq, dk, weights.transpose(1, 2) @ dy, None


def _dense(q: Tensor, k: Tensor, v: Tensor, scale: float | None) -> Tensor:
    (B, T, H, D), G = q.shape, k.shape[2]
    stacked = q.unflatten(2, (G, H // G)).permute(0, 2, 3, 1, 4).reshape(B * G, -1, D)
    keys, values = (t.transpose(1, 2).reshape(B * G, T, -1) for t in (k, v))
    y: Any = _Dense.apply(stacked, keys, values, D**-0.5 if scale is None else scale)
    return y.view(B, H, T, -1).transpose(1, 2)


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
