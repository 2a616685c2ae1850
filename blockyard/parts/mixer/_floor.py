"""Gates that keep at least a floor, which rises with depth."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import Parameter

from blockyard.core import Axis, Prod, Site, UsageError, constant, upcast


def shared_floors(site: Site, kind: str, on: Axis | Prod) -> Parameter:
    """(layers, on) what all layers of this kind learn together."""
    bounds = site.shared("bounds", kind, lambda: site.param("bounds", (Axis("layers", site.alike), on), constant(0.0)))
    shared = f"all {kind} layers share their bounds, so all need the same widths"
    for axis in on.leaves():
        axis.fixed = shared if site.alike > 1 else ""
    if bounds.shape[1] != on.size:
        raise UsageError(f"{site.path}: {shared}")
    return bounds


def floor(bounds: Tensor, ordinal: int) -> Tensor:
    """The sum over the layers before this one of bounds' softmax over layers: 0 at the first layer, below 1."""
    return upcast(bounds).softmax(0)[:ordinal].sum(0)


class _LogKeep(Function):
    """With m = low + (1 - low) s, s = sigmoid(f): df = dy (1 - low) s (1 - s) / m, d_low = dy (1 - s) / m."""

    @staticmethod
    def forward(ctx: Any, low: Tensor, f: Tensor) -> Tensor:  # pyright: ignore
        s = upcast(f).sigmoid()
        kept = torch.addcmul(low, 1 - low, s).clamp_(min=1e-30)
        ctx.save_for_backward(low, s, kept)
        ctx.dtype = f.dtype
        return kept.log()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore
        low, s, kept = ctx.saved_tensors
        slope = (1 - s).mul_(dy).div_(kept)
        return slope.sum_to_size(low.shape), slope.mul_(s).mul_(1 - low).to(ctx.dtype)


class _Rest(Function):
    @staticmethod
    def forward(ctx: Any, decay: Tensor) -> Tensor:  # pyright: ignore
        rest = decay.expm1().neg_()
        ctx.save_for_backward(rest)
        return rest

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_rest: Tensor) -> Tensor:  # pyright: ignore
        (rest,) = ctx.saved_tensors
        return (rest - 1).mul_(d_rest)


def _plain() -> bool:
    """A compiler fuses the plain forms, and without gradients nothing is kept."""
    return torch.compiler.is_compiling() or not torch.is_grad_enabled()


def log_keep(low: Tensor, f: Tensor) -> Tensor:
    """log(low + (1 - low) sigmoid(f)), finite also where the gate saturates."""
    if _plain():
        return (low + (1 - low) * upcast(f).sigmoid()).clamp(min=1e-30).log()
    return _LogKeep.apply(low, f)  # pyright: ignore[reportReturnType]


def rest(decay: Tensor) -> Tensor:
    """1 - exp(decay): what is not kept, exact also where nearly all is."""
    return -decay.expm1() if _plain() else _Rest.apply(decay)  # pyright: ignore[reportReturnType]
