"""Token-wise maps as instructions."""

from torch import Tensor

from ..program.builder import Vector
from ..program.codes import NORM, ROTATE, SILU
from ..program.emission import Emission, whole


def norm(
    e: Emission, x: Tensor, gain: Tensor, eps: float, each: int = 0, bias: Tensor | None = None, centred: bool = False
) -> Vector:  # fmt: skip
    """Of the last dimension; a gain for all, or `each` apart."""
    D = x.shape[-1]
    whole(D)
    v, y = e.vector(x), e.w.fresh(x.numel())
    off = 0 if bias is None else e.constant(bias).address
    numbers = (x.numel() // D, D, each, e.constant(gain).address, off, e.w.number(eps), int(centred))
    e.w.write(NORM, *v.operand, *y.operand, *numbers)
    return y


def rms_norm(e: Emission, x: Tensor, gain: Tensor, eps: float) -> Vector:
    return norm(e, x, gain, eps, each=0 if gain.dim() == 1 else x.shape[-1])


def gated(e: Emission, x: Tensor, g: Tensor) -> Vector:
    return e.w.times(e.vector(x), e.w.map(SILU, e.vector(g)))


def swiglu(e: Emission, h: Tensor) -> Vector:
    v, half = e.vector(h), h.shape[-1] // 2
    g, x = Vector(v.held, half, v.begin), Vector(v.held, half, v.begin + half)
    return e.w.times(e.w.map(SILU, g), x)


def rotate(e: Emission, x: Tensor, cos: Tensor, sin: Tensor) -> Vector:
    heads, D = x.shape[-2:]
    whole(D)
    v, y = e.vector(x), e.w.fresh(x.numel())
    e.w.write(ROTATE, *v.operand, *y.operand, heads, D, e.table(cos).address, e.table(sin).address)
    return y
