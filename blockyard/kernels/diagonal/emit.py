"""The scan of a vector memory as an instruction."""

from typing import Any

from torch import Tensor

from ..program.builder import Vector
from ..program.codes import DIAGONAL
from ..program.emission import Emission, whole


def diagonal_scan(e: Emission, x: Tensor, log_decay: Tensor, *, initial_state: Tensor, reset: Any) -> Vector:
    E = x.shape[-1]
    whole(E)
    xv, gv, y, h = e.vector(x), e.vector(log_decay), e.w.fresh(E), e.memory(initial_state, E)
    e.w.write(DIAGONAL, *xv.operand, *gv.operand, y.address, h, E, tasks=-(-E // 64))
    return y
