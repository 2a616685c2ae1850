"""Token-wise maps in one pass, and their gradients in one.

    norm    y = g x r, r = 1 / sqrt(mean(x^2) + eps)        n = x r, h = g dy:  dx = r (h - n mean(h n)), dg = sum dy n
    gated   y = x g s, s = 1 / (1 + exp(-g))                dx = dy g s,  dg = dy x s (1 + g (1 - s))
    turn    (a, b) <- (a cos - b sin, b cos + a sin)        dx = dy turned back

Tensors (..., D) are taken as (B,T,H,D), D of whole vectors; a task is a block of the B T tokens.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from ..toolkit.arrays import flat, line
from ..toolkit.chunks import wide
from ..toolkit.compile import compiled, place
from ..toolkit.lanes import exponential, full, load, store, total
from ..toolkit.parallel import share

BLOCK = 64
LIGHT = 32  # elements of such work cost as much as one of a scan


@compiled
def scale(like, x, at, eps, D):
    """1 / sqrt(mean(x^2) + eps)"""
    squares = full(like.dtype.type(0))
    for i in range(0, D, len(squares)):
        squares = squares + load(x, at + i) * load(x, at + i)
    return like.dtype.type(1 / math.sqrt(total(squares) / D + eps))


@compiled
def norm_forward(like, x, gain, eps, y, sizes, strides, first, last):
    """gain (H,D) or (1,D)."""
    B, T, H, D = sizes
    each = D if gain.shape[0] > D else 0
    for n in range(first * BLOCK, min(last * BLOCK, B * T)):
        for h in range(H):
            at, to = place(strides[0], n // T, n % T, h), (n * H + h) * D
            r = full(scale(like, x, at, eps, D))
            for i in range(0, D, len(r)):
                store(y, to + i, load(x, at + i) * r * load(gain, h * each + i))


@compiled
def norm_backward(like, x, gain, eps, dy, dx, d_gain, sizes, strides, first, last):
    """d_gain (tasks,) + gain's starts at zero."""
    B, T, H, D = sizes
    each = D if gain.shape[0] > D else 0
    for n in range(first * BLOCK, min(last * BLOCK, B * T)):
        for h in range(H):
            at, ga, to = place(strides[0], n // T, n % T, h), place(strides[1], n // T, n % T, h), (n * H + h) * D
            sums, r, along = n // BLOCK * gain.shape[0] + h * each, scale(like, x, at, eps, D), full(like.dtype.type(0))
            for i in range(0, D, len(along)):
                along = along + load(dy, ga + i) * load(gain, h * each + i) * load(x, at + i)
            along, r = full(total(along) * r * r / like.dtype.type(D)), full(r)
            for i in range(0, D, len(along)):
                grad, here = load(dy, ga + i), load(x, at + i)
                store(d_gain, sums + i, load(d_gain, sums + i) + grad * here * r)
                store(dx, to + i, r * (grad * load(gain, h * each + i) - here * along))


@compiled
def gated_forward(like, x, g, y, sizes, strides, first, last):
    B, T, H, D = sizes
    one = full(like.dtype.type(1))
    for n in range(first * BLOCK, min(last * BLOCK, B * T)):
        for h in range(H):
            at, ga, to = place(strides[0], n // T, n % T, h), place(strides[1], n // T, n % T, h), (n * H + h) * D
            for i in range(0, D, len(one)):
                gate = load(g, ga + i)
                store(y, to + i, load(x, at + i) * gate / (one + exponential(one - one - gate)))


@compiled
def gated_backward(like, x, g, dy, dx, dg, sizes, strides, first, last):
    B, T, H, D = sizes
    sx, sg, sd = strides
    one = full(like.dtype.type(1))
    for n in range(first * BLOCK, min(last * BLOCK, B * T)):
        b, t = n // T, n % T
        for h in range(H):
            at, ga, da, to = place(sx, b, t, h), place(sg, b, t, h), place(sd, b, t, h), (n * H + h) * D
            for i in range(0, D, len(one)):
                gate, grad = load(g, ga + i), load(dy, da + i)
                s = one / (one + exponential(one - one - gate))
                store(dx, to + i, grad * gate * s)
                store(dg, to + i, grad * load(x, at + i) * s * (one + gate * (one - s)))


@compiled
def turn_forward(like, x, cos, sin, y, sizes, strides, first, last):
    """cos, sin (B,T,H,D/2)."""
    B, T, H, D = sizes
    half, step = D // 2, len(full(like.dtype.type(0)))
    for n in range(first * BLOCK, min(last * BLOCK, B * T)):
        b, t = n // T, n % T
        for h in range(H):
            at, ca, to = place(strides[0], b, t, h), place(strides[1], b, t, h), (n * H + h) * D
            sa = place(strides[2], b, t, h)
            for i in range(0, half, step):
                left, right = load(x, at + i), load(x, at + half + i)
                c, s = load(cos, ca + i), load(sin, sa + i)
                store(y, to + i, left * c - right * s)
                store(y, to + half + i, right * c + left * s)


def four(x: Tensor) -> Tensor:
    """(..., D) as (B,T,H,D)."""
    if x.dim() == 4:
        return x
    return x.unsqueeze(-2) if x.dim() == 3 else x.reshape(1, -1, 1, x.shape[-1])


def _run(loop: Any, given: list[Any], out: list[Tensor]) -> None:
    """loop(like, *given, *out, sizes, strides) over blocks of tokens; strides of the tensors of four axes.

    `like` is an empty array of the precision to compute in.
    """
    rows = [flat(t) if isinstance(t, Tensor) and t.dim() == 4 else t for t in given]
    strides = tuple(t[1] for t in rows if isinstance(t, tuple))
    arrays = [t[0] if isinstance(t, tuple) else line(t) if isinstance(t, Tensor) else t for t in rows]
    (B, T, H, D), like = given[0].shape, line(torch.empty(0, dtype=wide(given[0])))
    share(loop, -(-B * T // BLOCK), B * T * H * D // LIGHT, like, *arrays, *map(line, out), (B, T, H, D), strides)


class _Norm(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, eps: float) -> Tensor:  # pyright: ignore
        ctx.save_for_backward(x, gain)
        ctx.eps = eps
        y = torch.empty(x.shape, dtype=x.dtype)
        _run(norm_forward, [four(x), gain, eps], [y])
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, None]:  # pyright: ignore
        x, gain = ctx.saved_tensors
        rows = four(x)
        blocks = -(-rows.shape[0] * rows.shape[1] // BLOCK)
        dx, d_gain = torch.empty(x.shape, dtype=x.dtype), torch.zeros(blocks, *gain.shape, dtype=wide(x))
        _run(norm_backward, [rows, gain, ctx.eps, four(dy)], [dx, d_gain])
        return dx, d_gain.sum(0).to(gain.dtype), None


class _Gated(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, g: Tensor) -> Tensor:  # pyright: ignore
        ctx.save_for_backward(x, g)
        y = torch.empty(x.shape, dtype=x.dtype)
        _run(gated_forward, [four(x), four(g)], [y])
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore
        x, g = ctx.saved_tensors
        dx, dg = (torch.empty(x.shape, dtype=x.dtype) for _ in range(2))
        _run(gated_backward, [four(x), four(g), four(dy)], [dx, dg])
        return dx, dg


class _Turn(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:  # pyright: ignore
        ctx.save_for_backward(cos, sin)
        y = torch.empty(x.shape, dtype=x.dtype)
        angles = (*x.shape[:-1], cos.shape[-1])
        _run(turn_forward, [x, cos.expand(angles), sin.expand(angles)], [y])
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore
        cos, sin = ctx.saved_tensors
        return turn(dy, cos, -sin), None, None


def rms_norm(x: Tensor, gain: Tensor, eps: float) -> Tensor:
    return _Norm.apply(x, gain.contiguous(), eps)  # pyright: ignore[reportReturnType]


def gated(x: Tensor, g: Tensor) -> Tensor:
    return _Gated.apply(x, g)  # pyright: ignore[reportReturnType]


def turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    return _Turn.apply(x, cos, sin)  # pyright: ignore[reportReturnType]
