"""Token-wise maps in one pass, and their gradients in one.

    norm    y = g x r, r = 1 / sqrt(mean(x^2) + eps)        n = x r, h = g dy:  dx = r (h - n mean(h n)), dg = sum dy n
    gated   y = x g s, s = 1 / (1 + exp(-g))                dx = dy g s,  dg = dy x s (1 + g (1 - s))
    swiglu  the same of h = [g | x] (..., 2D), of any D from a vector on: what is left of a row is done twice
    rotate  (a, b) <- (a cos - b sin, b cos + a sin)        dx = dy rotated back

Tensors (..., D) are taken as (B,T,H,D), D of whole vectors; a task is a block of the B T tokens.
`at`, ga and da: where a row of x, of g or dy, and of dy begin; `to`: where that of the result does.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from ..toolkit.arrays import raveled, strided
from ..toolkit.chunks import state_dtype
from ..toolkit.compile import compiled, inlined, offset
from ..toolkit.lanes import exponential, full, load, reduce_add, store
from ..toolkit.machine import borrowed
from ..toolkit.parallel import parallel_for

BLOCK = 64
LIGHT = 32  # elements of such work cost as much as one of a scan


@inlined
def scale(like, x, at, eps, D):
    """1 / sqrt(mean(x^2) + eps)"""
    squares = full(like.dtype.type(0))
    for i in range(0, D, len(squares)):
        squares = squares + load(x.data, at + i) * load(x.data, at + i)
    return like.dtype.type(1 / math.sqrt(reduce_add(squares) / D + eps))


@compiled
def norm_forward(like, x, gain, eps, y, sizes, first, last):
    """gain (H,D) or (1,D)."""
    x = borrowed(x)
    B, T, H, D = sizes
    each = D if gain.shape[0] > D else 0
    for n in range(first * BLOCK, min(last * BLOCK, B * T)):
        for h in range(H):
            at, to = offset(x, n // T, n % T, h), (n * H + h) * D
            r = full(scale(like, x, at, eps, D))
            for i in range(0, D, len(r)):
                store(y, to + i, load(x.data, at + i) * r * load(gain, h * each + i))


@compiled
def norm_backward(like, x, gain, eps, dy, dx, d_gain, sizes, first, last):
    """d_gain (tasks,) + gain's starts at zero."""
    x, dy = borrowed((x, dy))
    B, T, H, D = sizes
    each = D if gain.shape[0] > D else 0
    for n in range(first * BLOCK, min(last * BLOCK, B * T)):
        for h in range(H):
            at, ga, to = offset(x, n // T, n % T, h), offset(dy, n // T, n % T, h), (n * H + h) * D
            sums, r, along = n // BLOCK * gain.shape[0] + h * each, scale(like, x, at, eps, D), full(like.dtype.type(0))
            for i in range(0, D, len(along)):
                along = along + load(dy.data, ga + i) * load(gain, h * each + i) * load(x.data, at + i)
            along, r = full(reduce_add(along) * r * r / like.dtype.type(D)), full(r)
            for i in range(0, D, len(along)):
                grad, here = load(dy.data, ga + i), load(x.data, at + i)
                store(d_gain, sums + i, load(d_gain, sums + i) + grad * here * r)
                store(dx, to + i, r * (grad * load(gain, h * each + i) - here * along))


@compiled
def gated_forward(like, x, g, y, sizes, first, last):
    x, g = borrowed((x, g))
    B, T, H, D = sizes
    one = full(like.dtype.type(1))
    for n in range(first * BLOCK, min(last * BLOCK, B * T)):
        for h in range(H):
            at, ga, to = offset(x, n // T, n % T, h), offset(g, n // T, n % T, h), (n * H + h) * D
            for i in range(0, D, len(one)):
                gate = load(g.data, ga + i)
                store(y, to + i, load(x.data, at + i) * gate / (one + exponential(one - one - gate)))


@compiled
def gated_backward(like, x, g, dy, dx, dg, sizes, first, last):
    x, g, dy = borrowed((x, g, dy))
    B, T, H, D = sizes
    one = full(like.dtype.type(1))
    for n in range(first * BLOCK, min(last * BLOCK, B * T)):
        b, t = n // T, n % T
        for h in range(H):
            at, ga, da, to = offset(x, b, t, h), offset(g, b, t, h), offset(dy, b, t, h), (n * H + h) * D
            for i in range(0, D, len(one)):
                gate, grad = load(g.data, ga + i), load(dy.data, da + i)
                s = one / (one + exponential(one - one - gate))
                store(dx, to + i, grad * gate * s)
                store(dg, to + i, grad * load(x.data, at + i) * s * (one + gate * (one - s)))


@compiled
def swiglu_forward(like, h, y, N, D, first, last):
    one = full(like.dtype.type(1))
    step = len(one)
    for n in range(first * BLOCK, min(last * BLOCK, N)):
        g, x, to = 2 * n * D, (2 * n + 1) * D, n * D
        for each in range(0, D, step):
            i = min(each, D - step)
            gate = load(h, g + i)
            store(y, to + i, load(h, x + i) * gate / (one + exponential(one - one - gate)))


@compiled
def swiglu_backward(like, h, dy, dh, N, D, first, last):
    one = full(like.dtype.type(1))
    step = len(one)
    for n in range(first * BLOCK, min(last * BLOCK, N)):
        g, x, at = 2 * n * D, (2 * n + 1) * D, n * D
        for each in range(0, D, step):
            i = min(each, D - step)
            gate, grad = load(h, g + i), load(dy, at + i)
            s = one / (one + exponential(one - one - gate))
            store(dh, x + i, grad * gate * s)
            store(dh, g + i, grad * load(h, x + i) * s * (one + gate * (one - s)))


@compiled
def rotate_forward(like, x, cos, sin, y, sizes, first, last):
    """cos, sin (B,T,H,D/2)."""
    x, cos, sin = borrowed((x, cos, sin))
    B, T, H, D = sizes
    half, step = D // 2, len(full(like.dtype.type(0)))
    for n in range(first * BLOCK, min(last * BLOCK, B * T)):
        b, t = n // T, n % T
        for h in range(H):
            at, ca, to = offset(x, b, t, h), offset(cos, b, t, h), (n * H + h) * D
            sa = offset(sin, b, t, h)
            for i in range(0, half, step):
                left, right = load(x.data, at + i), load(x.data, at + half + i)
                c, s = load(cos.data, ca + i), load(sin.data, sa + i)
                store(y, to + i, left * c - right * s)
                store(y, to + half + i, right * c + left * s)


def four(x: Tensor) -> Tensor:
    """(..., D) as (B,T,H,D)."""
    if x.dim() == 4:
        return x
    return x.unsqueeze(-2) if x.dim() == 3 else x.reshape(1, -1, 1, x.shape[-1])


def _run(loop: Any, given: list[Any], out: list[Tensor]) -> None:
    """loop(like, *given, *out, sizes) over blocks of tokens; tensors of four axes as rows.

    `like` is an empty array of the precision to compute in.
    """
    arrays = [t if not isinstance(t, Tensor) else strided(t) if t.dim() == 4 else raveled(t) for t in given]
    (B, T, H, D), like = given[0].shape, raveled(torch.empty(0, dtype=state_dtype(given[0])))
    parallel_for(loop, -(-B * T // BLOCK), B * T * H * D // LIGHT, like, *arrays, *map(raveled, out), (B, T, H, D))


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
        dx, d_gain = torch.empty(x.shape, dtype=x.dtype), torch.zeros(blocks, *gain.shape, dtype=state_dtype(x))
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


def _run_halves(loop: Any, *given: Tensor) -> None:
    h = given[0]
    D, like = h.shape[-1] // 2, raveled(torch.empty(0, dtype=state_dtype(h)))
    N = h.numel() // (2 * D)
    parallel_for(loop, -(-N // BLOCK), N * D // LIGHT, like, *map(raveled, given), N, D)


class _SwiGLU(Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor) -> Tensor:  # pyright: ignore
        ctx.save_for_backward(h)
        y = torch.empty(*h.shape[:-1], h.shape[-1] // 2, dtype=h.dtype)
        _run_halves(swiglu_forward, h, y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> Tensor:  # pyright: ignore
        (h,) = ctx.saved_tensors
        dh = torch.empty_like(h)
        _run_halves(swiglu_backward, h, dy.contiguous(), dh)
        return dh


class _Rotate(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:  # pyright: ignore
        ctx.save_for_backward(cos, sin)
        y = torch.empty(x.shape, dtype=x.dtype)
        angles = (*x.shape[:-1], cos.shape[-1])
        _run(rotate_forward, [x, cos.expand(angles), sin.expand(angles)], [y])
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore
        cos, sin = ctx.saved_tensors
        return rotate(dy, cos, -sin), None, None


def rms_norm(x: Tensor, gain: Tensor, eps: float) -> Tensor:
    return _Norm.apply(x, gain.contiguous(), eps)  # pyright: ignore[reportReturnType]


def gated(x: Tensor, g: Tensor) -> Tensor:
    return _Gated.apply(x, g)  # pyright: ignore[reportReturnType]


def swiglu(h: Tensor) -> Tensor:
    return _SwiGLU.apply(h)  # pyright: ignore[reportReturnType]


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    return _Rotate.apply(x, cos, sin)  # pyright: ignore[reportReturnType]
