"""A product with a full matrix as an instruction."""

from torch import Tensor

from ..program.builder import Vector
from ..program.emission import Emission


def linear(e: Emission, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Vector:
    return e.w.matrix(weight, e.vector(x), bias)
