"""Packed matrices as instructions."""

from torch import Tensor

from ..program.builder import Vector
from ..program.codes import EMBED
from ..program.emission import Emission, whole


def dense(e: Emission, packed: Tensor, bits: int, group: int, K: int, rows: Tensor) -> Vector:
    """The token's own row."""
    whole(K)
    e.of_the_token(rows)
    y = e.w.fresh(K)
    e.w.write(EMBED, e.w.reads(packed), bits, K, *y.operand, group)
    return y


def packed_linear(e: Emission, x: Tensor, packed: Tensor, bits: int, group: int, N: int) -> Vector:
    return e.w.packed(packed, bits, group, N, e.vector(x))
