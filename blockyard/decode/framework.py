"""What the framework's operations become."""

from typing import Any

import torch
from torch import Tensor

from blockyard.decode.emit import CASTS, Emitter, emits
from blockyard.decode.record import Node, Unrecordable
from blockyard.kernels.pointwise.emit import norm
from blockyard.kernels.program import codes
from blockyard.kernels.program.builder import Vector
from blockyard.kernels.program.emission import whole

COPIES = (
    *CASTS, "aten.clone.default", "aten.contiguous.default", "aten.reshape.default", "aten.flatten.using_ints",
    "aten._unsafe_view.default",
)  # fmt: skip
MAPS = {
    "silu": "SILU", "sigmoid": "SIGMOID", "relu": "RELU", "log": "LOG", "exp": "EXP", "softplus": "SOFTPLUS",
    "expm1": "EXPM1", "rsqrt": "RSQRT",
}  # fmt: skip


@emits(*COPIES)
def same(e: Emitter, node: Node, x: Tensor, *_: Any, **__: Any) -> Vector:
    if not (x.is_floating_point() and node.outs[0].is_floating_point()):
        raise Unrecordable(f"{node.name} to or from whole numbers")
    return e.vector(x)


@emits(*(f"aten.{name}.default" for name in MAPS))
def mapped(e: Emitter, node: Node, x: Tensor, *more: Any) -> Vector:
    if more:
        raise Unrecordable(f"{node.name} with settings")
    return e.map(getattr(codes, MAPS[node.name.split(".")[1]]), x)


@emits("aten.gelu.default")
def gelu(e: Emitter, node: Node, x: Tensor, approximate: str = "none") -> Vector:
    if approximate != "tanh":
        raise Unrecordable("aten.gelu without approximate='tanh'")
    return e.map(codes.GELU, x)


@emits("aten.log_sigmoid.default")
def log_sigmoid(e: Emitter, node: Node, x: Tensor) -> Vector:
    """log sigmoid(x) = -softplus(-x)"""
    return e.w.map(codes.SOFTPLUS, e.w.map(codes.SAME, e.vector(x), -1.0), -1.0)


@emits("aten.tanh.default")
def tanh(e: Emitter, node: Node, x: Tensor) -> Vector:
    """tanh(x) = 2 sigmoid(2x) - 1"""
    return e.w.map(codes.SIGMOID, e.w.map(codes.SAME, e.vector(x), 2.0), 2.0, -1.0)


@emits("aten.square.default")
def square(e: Emitter, node: Node, x: Tensor) -> Vector:
    v = e.vector(x)
    return e.w.times(v, v)


@emits("aten.neg.default")
def negative(e: Emitter, node: Node, x: Tensor) -> Vector:
    return e.map(codes.SAME, x, -1.0)


def _number(e: Emitter, x: Any) -> bool:
    """A number, or a tensor that holds one for all tokens."""
    return not isinstance(x, Tensor) or (x.dim() == 0 and not e.varies(x))


def _plain(x: Any) -> float:
    """The number, of a parameter too."""
    return float(x.detach() if isinstance(x, Tensor) else x)


@emits("aten.mul.Tensor")
def multiply(e: Emitter, node: Node, a: Any, b: Any) -> Vector:
    if _number(e, a):
        a, b = b, a
    if _number(e, b):
        return e.map(codes.SAME, a, _plain(b))
    else:
        return e.join(node, codes.TIMES, a, b)


@emits("aten.div.Tensor")
def divide(e: Emitter, node: Node, a: Tensor, b: Any) -> Vector:
    if not _number(e, b):
        raise Unrecordable("a division by a tensor")
    return e.map(codes.SAME, a, 1 / _plain(b))


@emits("aten.add.Tensor")
def add(e: Emitter, node: Node, a: Any, b: Any, alpha: float = 1) -> Vector:
    if _number(e, b):
        return e.map(codes.SAME, a, 1.0, _plain(b) * alpha)
    elif alpha != 1:
        raise Unrecordable("a sum with a factor")
    else:
        return e.join(node, codes.PLUS, a, b)


@emits("aten.sub.Tensor")
def subtract(e: Emitter, node: Node, a: Any, b: Any, alpha: float = 1) -> Vector:
    if _number(e, b):
        return e.map(codes.SAME, a, 1.0, -_plain(b) * alpha)
    else:
        raise Unrecordable("a difference of tensors")


@emits("aten.rsub.Scalar")
def subtract_from(e: Emitter, node: Node, x: Tensor, number: float, alpha: float = 1) -> Vector:
    return e.map(codes.SAME, x, -1.0 * alpha, float(number))


@emits("aten.addcmul.default")
def add_product(e: Emitter, node: Node, x: Tensor, a: Tensor, b: Tensor, value: float = 1) -> Vector:
    if value != 1:
        raise Unrecordable("aten.addcmul with a factor")
    a, b = (a, b) if e.varies(a) else (b, a)
    other = e.vector(b) if e.varies(b) else e.constant(b, node.outs[0].shape)
    return e.w.plus(e.vector(x), e.w.times(e.vector(a), other))


@emits("aten.mean.dim", "aten.sum.dim_IntList")
def mean(e: Emitter, node: Node, x: Tensor, dim: Any, keepdim: bool = False, *, dtype: Any = None) -> Vector:
    D = x.shape[-1]
    if [d % x.dim() for d in dim] != [x.dim() - 1]:
        raise Unrecordable(f"{node.name} over more than the last dimension")
    whole(D)
    v, y = e.vector(x), e.w.fresh(x.numel() // D)
    e.w.write(codes.MEAN, *v.operand, *y.operand, y.size, D, e.w.number(1 / D if "mean" in node.name else 1.0))
    return y


@emits("aten.clamp.default")
def clamp(e: Emitter, node: Node, x: Tensor, low: float | None = None, high: float | None = None) -> Vector:
    """A guard against an underflow that vectors in single precision do not meet."""
    if high is not None or low is None or low > 1e-30:
        raise Unrecordable("aten.clamp")
    return same(e, node, x)


@emits("aten.stack.default", "aten.cat.default")
def joined(e: Emitter, node: Node, xs: list[Tensor], dim: int = 0) -> Vector:
    if len(xs) == 1:
        return same(e, node, xs[0])
    if "cat" not in node.name or dim % xs[0].dim() != xs[0].dim() - 1 or any(x.numel() != x.shape[-1] for x in xs):
        raise Unrecordable(f"{node.name} of several tensors, but for channels of one token")
    whole(*(x.numel() for x in xs))  # what is written first does not reach into what is written next
    y, begin = e.w.fresh(sum(x.numel() for x in xs)), 0
    for x in xs:
        place = Vector(y.held, x.numel(), begin)
        sizes = (place.size, codes.SAME, e.w.number(1.0), e.w.number(0.0))
        e.w.write(codes.MAP, *e.vector(x).operand, *place.operand, *sizes)
        begin += place.size
    return y


@emits("aten.embedding.default")
def embedding(e: Emitter, node: Node, table: Tensor, tokens: Tensor, *_: Any) -> Vector:
    whole(table.shape[1])
    e.of_the_token(tokens)
    y = e.w.fresh(table.shape[1])
    e.w.write(codes.EMBED, e.w.table(table), 8 * table.element_size(), y.size, *y.operand)
    return y


@emits("aten.linear.default")
def linear(e: Emitter, node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Vector:
    return e.w.matrix(weight, e.vector(x), bias)


@emits("aten.layer_norm.default")
def layer_norm(
    e: Emitter, node: Node, x: Tensor, shape: Any, gain: Tensor | None = None, bias: Tensor | None = None,
    eps: float = 1e-5, *_: Any,
) -> Vector:  # fmt: skip
    if len(shape) != 1:
        raise Unrecordable("a norm over several dimensions")
    return norm(e, x, torch.ones(shape) if gain is None else gain, eps, bias=bias, centred=True)
