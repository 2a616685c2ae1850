"""Token-wise maps in the framework's operations, with gradients that keep less than its own.

With r = 1 / sqrt(mean(x^2) + eps), n = x r and h = g dy the norm's gradient is dx = r (h - n mean(h n)); that of a
rotation is the rotation back.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from .reference import norm_reference, rotate_reference


class _RMSNorm(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, eps: float) -> Tensor:  # pyright: ignore
        wide = torch.float64 if x.dtype == torch.float64 else torch.float32
        size = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=wide)
        scale = size.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        unit = x * scale.to(x.dtype)
        ctx.save_for_backward(unit, gain, scale)
        return unit * gain

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, None]:  # pyright: ignore
        unit, gain, scale = ctx.saved_tensors
        d_gain = (dy * unit).sum_to_size(gain.shape)
        h = dy * gain
        along = (h * unit).mean(-1, keepdim=True)
        return torch.addcmul(h, unit, along, value=-1).mul_(scale.to(h.dtype)), d_gain, None


def norm_fast(x: Tensor, gain: Tensor, eps: float) -> Tensor:
    if torch.compiler.is_compiling() or not torch.is_grad_enabled():  # a compiler fuses the plain form itself
        return norm_reference(x, gain, eps)
    return _RMSNorm.apply(x, gain, eps)  # pyright: ignore[reportReturnType]


class _Rotate(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:  # pyright: ignore
        ctx.save_for_backward(cos, sin)
        y = torch.empty_like(x, memory_format=torch.contiguous_format)
        (a, b), (left, right) = x.chunk(2, -1), y.chunk(2, -1)
        torch.mul(a, cos, out=left)
        left.addcmul_(b, sin, value=-1)
        torch.mul(b, cos, out=right)
        right.addcmul_(a, sin)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore
        cos, sin = ctx.saved_tensors
        return _Rotate.apply(dy, cos, -sin), None, None  # pyright: ignore[reportReturnType]


def rotate_fast(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    if torch.compiler.is_compiling() or not torch.is_grad_enabled() or cos.requires_grad or sin.requires_grad:
        return rotate_reference(x, cos, sin)
    return _Rotate.apply(x, cos, sin)  # pyright: ignore[reportReturnType]
