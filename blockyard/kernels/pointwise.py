"""Token-wise maps whose plain form goes through memory too often.

    rms_norm    y = g * x / sqrt(mean(x^2) + eps)                          x (..., D), g (D), or x (..., H, D), g (H,D)
    gated       y = x * silu(g)                                            x, g (..., D)
    turn        (a, b) <- (a cos - b sin, b cos + a sin)                   x (..., 2K) = [a | b], cos, sin (..., K)

With r = 1 / sqrt(mean(x^2) + eps), n = x r and h = g dy the norm's gradient is dx = r (h - n mean(h n)); that of a
turn is the turn back. Like every norm, activation and addition they count as no operations.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from .dispatch import Op


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


def _norm_fast(x: Tensor, gain: Tensor, eps: float) -> Tensor:
    if torch.compiler.is_compiling() or not torch.is_grad_enabled():  # a compiler fuses the plain form itself
        return _norm_reference(x, gain, eps)
    return _RMSNorm.apply(x, gain, eps)  # pyright: ignore[reportReturnType]


def _norm_cpu(x: Tensor, gain: Tensor, eps: float) -> Tensor:
    if not _passes_pay(x) or gain.dtype != x.dtype:
        return _norm_fast(x, gain, eps)
    from .cpu.pointwise import norm

    return norm(x, gain, eps)


def _norm_reference(x: Tensor, gain: Tensor, eps: float) -> Tensor:
    if gain.dim() == 1:
        return functional.rms_norm(x, gain.shape, gain, eps)
    return functional.rms_norm(x, gain.shape[-1:], None, eps) * gain


FEW = 1 << 16  # numbers of which the framework's own passes cost less than a call of ours


def _passes_pay(x: Tensor, unit: int = 16) -> bool:
    """Loops of our own take rows of whole vectors, and save passes."""
    return x.shape[-1] % unit == 0 and x.numel() >= FEW


def _gated_reference(x: Tensor, g: Tensor) -> Tensor:
    return x * functional.silu(g)


def _gated_cpu(x: Tensor, g: Tensor) -> Tensor:
    if not _passes_pay(x) or x.shape != g.shape or x.dtype != g.dtype:
        return _gated_reference(x, g)
    from .cpu.pointwise import gated

    return gated(x, g)


class _Turn(Function):
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
        return _Turn.apply(dy, cos, -sin), None, None  # pyright: ignore[reportReturnType]


def _turn_fast(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    if torch.compiler.is_compiling() or not torch.is_grad_enabled():
        return _turn_reference(x, cos, sin)
    return _Turn.apply(x, cos, sin)  # pyright: ignore[reportReturnType]


def _turn_cpu(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    if x.dim() != 4 or not _passes_pay(x, 32) or not x.dtype == cos.dtype == sin.dtype:
        return _turn_fast(x, cos, sin)
    from .cpu.pointwise import turn

    return turn(x, cos, sin)


def _turn_reference(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def _nothing(*_: Any, **__: Any) -> int:
    return 0


def _alike(*given: Any, **_: Any) -> Tensor:
    return torch.empty_like(given[0])


rms_norm = Op("rms_norm", reference=_norm_reference, chunked=_norm_fast, cpu=_norm_cpu, flops=_nothing, fake=_alike)
gated = Op("gated", reference=_gated_reference, chunked=_gated_reference, cpu=_gated_cpu, flops=_nothing, fake=_alike)
turn = Op("turn", reference=_turn_reference, chunked=_turn_fast, cpu=_turn_cpu, flops=_nothing, fake=_alike)
