"""The scan of a vector memory per channel as an instruction."""

from typing import Any

from torch import Tensor

from ..program.builder import Vector
from ..program.codes import SELECTIVE
from ..program.emission import Emission, whole


def selective_scan(
    e: Emission, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, *, initial_state: Tensor, reset: Any
) -> Vector:
    E, N = A.shape
    whole(E)
    xv, dv, bv, cv = (e.vector(t) for t in (x, dt, B, C))
    y, h, rate = e.w.fresh(E), e.memory(initial_state, N, E, turned=True), e.w.constant(e.computed(A).t())
    given = (*xv.operand, *dv.operand, rate.address, y.address, *bv.operand, *cv.operand, h, E, N)
    e.w.write(SELECTIVE, *given, tasks=-(-E // 64))
    return y
