"""The framework's other library for products of matrices in single precision, with its gradients."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.compiler import is_compiling
from torch.nn import functional


def _faster() -> bool:
    """Whether this machine and this build of the framework have what is faster."""
    has = torch.backends.mkldnn.is_available() and "AVX512" in torch.backends.cpu.get_cpu_capability()
    return has and hasattr(torch.ops.mkldnn, "_linear_pointwise")


FASTER = _faster()


@torch.library.custom_op("blockyard::product", mutates_args=())
def _opaque(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The same for a compiler, which would take the name for a product with constants."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


@_opaque.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty(*x.shape[:-1], weight.shape[0])


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if is_compiling():
        return _opaque(x, weight, bias)
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def _joined(a: Tensor, b: Tensor) -> Tensor:
    """a^T b; what comes first is copied for it, so the narrower one does. A second with gaps takes a thousand times."""
    a, b = a.contiguous(), b.contiguous()
    return _product(a.t(), b.t()) if a.shape[1] < b.shape[1] else _product(b.t(), a.t()).t()


class _Linear(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # pyright: ignore
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore
        x, weight = ctx.saved_tensors
        dx = dw = db = None
        rows, given = dy.reshape(-1, dy.shape[-1]), x.reshape(-1, x.shape[-1])
        plain = torch.is_grad_enabled()  # the gradient is to be differentiated
        rows = rows if plain else rows.contiguous()
        if ctx.needs_input_grad[0]:
            dx = (rows @ weight if plain else _product(rows, weight.t())).view(x.shape)
        if ctx.needs_input_grad[1]:
            dw = rows.t() @ given if plain else _joined(rows, given)
        if ctx.needs_input_grad[2]:
            db = rows.sum(0)
        return dx, dw, db


def linear_cpu(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    whole = x.dtype == weight.dtype == torch.float32 and weight.is_contiguous()
    if not whole or not x.numel() or torch.is_autocast_enabled("cpu"):
        return functional.linear(x, weight, bias)
    if torch.is_grad_enabled():
        return _Linear.apply(x, weight, bias)  # pyright: ignore[reportReturnType]
    return _product(x, weight, bias)


def linear_traced(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """What a compiler sees; elsewhere the framework's own."""
    return linear_cpu(x, weight, bias) if is_compiling() and x.is_cpu else functional.linear(x, weight, bias)
