"""What the framework's operations become."""

from typing import Any

from torch import Tensor

from blockyard.decode.emit import CASTS, Emitter, emits, whole
from blockyard.decode.graph import storage
from blockyard.decode.record import Node, Unrecordable

COPIES = (
    *CASTS, "aten.clone.default", "aten.contiguous.default", "aten.reshape.default", "aten.flatten.using_ints",
    "aten._unsafe_view.default",
)  # fmt: skip
MAPS = {
    "silu": "SILU", "sigmoid": "SIGMOID", "relu": "RELU", "log": "LOG", "exp": "EXP", "softplus": "SOFTPLUS",
    "expm1": "EXPM1", "rsqrt": "RSQRT",
}  # fmt: skip


@emits(*COPIES)
def same(e: Emitter, node: Node, x: Tensor, *_: Any, **__: Any) -> None:
    if not (x.is_floating_point() and node.outs[0].is_floating_point()):
        raise Unrecordable(f"{node.name} to or from whole numbers")
    e.put(node.outs[0], e.vector(x))


@emits(*(f"aten.{name}.default" for name in MAPS))
def mapped(e: Emitter, node: Node, x: Tensor, *more: Any) -> None:
    if more:
        raise Unrecordable(f"{node.name} with settings")
    e.map(node, getattr(e.op, MAPS[node.name.split(".")[1]]), x)


@emits("aten.gelu.default")
def gelu(e: Emitter, node: Node, x: Tensor, approximate: str = "none") -> None:
    if approximate != "tanh":
        raise Unrecordable("aten.gelu without approximate='tanh'")
    e.map(node, e.op.GELU, x)


@emits("aten.log_sigmoid.default")
def log_sigmoid(e: Emitter, node: Node, x: Tensor) -> None:
    """log sigmoid(x) = -softplus(-x)"""
    e.put(node.outs[0], e.w.map(e.op.SOFTPLUS, e.w.map(e.op.SAME, e.vector(x), -1.0), -1.0))


@emits("aten.square.default")
def square(e: Emitter, node: Node, x: Tensor) -> None:
    v = e.vector(x)
    e.put(node.outs[0], e.w.times(v, v))


@emits("aten.neg.default")
def negative(e: Emitter, node: Node, x: Tensor) -> None:
    e.map(node, e.op.SAME, x, -1.0)


def _number(e: Emitter, x: Any) -> bool:
    """A number, or a tensor that holds one for all tokens."""
    return not isinstance(x, Tensor) or (x.dim() == 0 and not e.varies(x))


@emits("aten.mul.Tensor")
def multiply(e: Emitter, node: Node, a: Any, b: Any) -> None:
    if _number(e, a):
        a, b = b, a
    if _number(e, b):
        e.map(node, e.op.SAME, a, float(b))
    else:
        e.join(node, e.op.TIMES, a, b)


@emits("aten.div.Tensor")
def divide(e: Emitter, node: Node, a: Tensor, b: Any) -> None:
    if not _number(e, b):
        raise Unrecordable("a division by a tensor")
    e.map(node, e.op.SAME, a, 1 / float(b))


@emits("aten.add.Tensor")
def add(e: Emitter, node: Node, a: Any, b: Any, alpha: float = 1) -> None:
    if _number(e, b):
        e.map(node, e.op.SAME, a, 1.0, float(b) * alpha)
    elif alpha != 1:
        raise Unrecordable("a sum with a factor")
    else:
        e.join(node, e.op.PLUS, a, b)


@emits("aten.sub.Tensor")
def subtract(e: Emitter, node: Node, a: Any, b: Any, alpha: float = 1) -> None:
    if _number(e, b):
        e.map(node, e.op.SAME, a, 1.0, -float(b) * alpha)
    else:
        raise Unrecordable("a difference of tensors")


@emits("aten.rsub.Scalar")
def subtract_from(e: Emitter, node: Node, x: Tensor, number: float, alpha: float = 1) -> None:
    e.map(node, e.op.SAME, x, -1.0 * alpha, float(number))


@emits("aten.addcmul.default")
def add_product(e: Emitter, node: Node, x: Tensor, a: Tensor, b: Tensor, value: float = 1) -> None:
    if value != 1:
        raise Unrecordable("aten.addcmul with a factor")
    a, b = (a, b) if e.varies(a) else (b, a)
    other = e.vector(b) if e.varies(b) else e.constant(b, node.outs[0].shape)
    e.put(node.outs[0], e.w.plus(e.vector(x), e.w.times(e.vector(a), other)))


@emits("aten.mean.dim", "aten.sum.dim_IntList")
def mean(e: Emitter, node: Node, x: Tensor, dim: Any, keepdim: bool = False, *, dtype: Any = None) -> None:
    D = x.shape[-1]
    if [d % x.dim() for d in dim] != [x.dim() - 1]:
        raise Unrecordable(f"{node.name} over more than the last dimension")
    whole(D)
    v, y = e.vector(x), e.w.fresh(x.numel() // D)
    e.w.write(e.op.MEAN, *v.place, *y.place, y.size, D, e.w.number(1 / D if "mean" in node.name else 1.0))
    e.put(node.outs[0], y)


@emits("aten.clamp.default")
def clamp(e: Emitter, node: Node, x: Tensor, low: float | None = None, high: float | None = None) -> None:
    """A guard against an underflow that vectors in single precision do not meet."""
    if high is not None or low is None or low > 1e-30:
        raise Unrecordable("aten.clamp")
    same(e, node, x)


@emits("aten.stack.default", "aten.cat.default")
def joined(e: Emitter, node: Node, xs: list[Tensor], dim: int = 0) -> None:
    if len(xs) != 1:
        raise Unrecordable(f"{node.name} of several tensors")
    same(e, node, xs[0])


def of_the_token(e: Emitter, tokens: Tensor) -> None:
    """Refuse to look up anything but the token itself."""
    if storage(tokens) != e.graph.tokens:
        raise Unrecordable("a table that is not read by the token itself")


@emits("aten.embedding.default")
def embedding(e: Emitter, node: Node, table: Tensor, tokens: Tensor, *_: Any) -> None:
    whole(table.shape[1])
    of_the_token(e, tokens)
    y = e.w.fresh(table.shape[1])
    e.w.write(e.op.EMBED, e.w.table(table), 8 * table.element_size(), y.size, *y.place)
    e.put(node.outs[0], y)


@emits("aten.linear.default")
def linear(e: Emitter, node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> None:
    e.put(node.outs[0], e.w.matrix(weight, e.vector(x), bias))


def norm(
    e: Emitter, node: Node, x: Tensor, gain: Tensor, eps: float, each: int = 0, bias: Tensor | None = None
) -> None:  # fmt: skip
    """Of the last dimension; a gain for all, or `each` apart; centred first where there is a bias."""
    D = x.shape[-1]
    whole(D)
    v, y = e.vector(x), e.w.fresh(x.numel())
    off, centred = (0, 0) if bias is None else (e.constant(bias).place[0], 1)
    numbers = (x.numel() // D, D, each, e.constant(gain).place[0], off, e.w.number(eps), centred)
    e.w.write(e.op.NORM, *v.place, *y.place, *numbers)
    e.put(node.outs[0], y)


@emits("aten.layer_norm.default")
def layer_norm(
    e: Emitter, node: Node, x: Tensor, shape: Any, gain: Tensor, bias: Tensor, eps: float = 1e-5, *_: Any
) -> None:  # fmt: skip
    if len(shape) != 1:
        raise Unrecordable("a norm over several dimensions")
    norm(e, node, x, gain, eps, bias=bias)
