"""Token-wise maps whose plain form goes through memory too often.

    rms_norm    y = g * x / sqrt(mean(x^2) + eps)                          x (..., D), g (D), or x (..., H, D), g (H,D)
    gated       y = x * silu(g)                                            x, g (..., D)
    swiglu      y = x * silu(g)                                            h (..., 2D) = [g | x]
    rotate      (a, b) <- (a cos - b sin, b cos + a sin)                   x (..., 2K) = [a | b], cos, sin (..., K)

Like every norm, activation and addition they count as no operations.
"""

from typing import Any

import torch
from torch import Tensor

from ..dispatch import Op, compiled, emitted
from .chunked import norm_fast, rotate_fast
from .reference import gated_reference, norm_reference, rotate_reference, swiglu_reference

VECTOR = 16
FEW = 1 << 16  # numbers of which the framework's own passes cost less than a call of ours


def _passes_pay(x: Tensor, unit: int = VECTOR) -> bool:
    """Loops of our own take rows of whole vectors, and save passes."""
    return x.shape[-1] % unit == 0 and x.numel() >= FEW


def _norm_serves(x: Tensor, gain: Tensor, eps: float) -> bool:
    return _passes_pay(x) and gain.dtype == x.dtype


def _gated_serves(x: Tensor, g: Tensor) -> bool:
    return _passes_pay(x) and x.shape == g.shape and x.dtype == g.dtype


def _swiglu_serves(h: Tensor) -> bool:
    return h.is_contiguous() and h.shape[-1] >= 2 * VECTOR and h.numel() >= FEW


def _rotate_serves(x: Tensor, cos: Tensor, sin: Tensor) -> bool:
    learned = cos.requires_grad or sin.requires_grad  # angles that learn are for the framework to differentiate
    return x.dim() == 4 and _passes_pay(x, 32) and x.dtype == cos.dtype == sin.dtype and not learned


def _nothing(*_: Any, **__: Any) -> int:
    return 0


def _alike(*given: Any, **_: Any) -> Tensor:
    return torch.empty_like(given[0])


def _half(h: Tensor) -> Tensor:
    return h.new_empty(*h.shape[:-1], h.shape[-1] // 2)


rms_norm = Op(
    "rms_norm",
    reference=norm_reference,
    chunked=norm_fast,
    cpu=compiled(__name__, "rms_norm", norm_fast, _norm_serves),
    emit=emitted(__name__, "rms_norm"),
    flops=_nothing,
    fake=_alike,
)


gated = Op(
    "gated",
    reference=gated_reference,
    chunked=gated_reference,
    cpu=compiled(__name__, "gated", gated_reference, _gated_serves),
    emit=emitted(__name__, "gated"),
    flops=_nothing,
    fake=_alike,
)


swiglu = Op(
    "swiglu",
    reference=swiglu_reference,
    chunked=swiglu_reference,
    cpu=compiled(__name__, "swiglu", swiglu_reference, _swiglu_serves),
    emit=emitted(__name__, "swiglu"),
    flops=_nothing,
    fake=_half,
)


rotate = Op(
    "rotate",
    reference=rotate_reference,
    chunked=rotate_fast,
    cpu=compiled(__name__, "rotate", rotate_fast, _rotate_serves),
    emit=emitted(__name__, "rotate"),
    flops=_nothing,
    fake=_alike,
)
