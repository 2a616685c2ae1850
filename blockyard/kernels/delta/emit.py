"""The scan of the delta rule as an instruction."""

from typing import Any

from torch import Tensor

from ..program.builder import Vector
from ..program.codes import DELTA
from ..program.emission import Emission, whole


def delta_scan(
    e: Emission, q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor | None = None, *,
    initial_state: Tensor, reset: Any,
) -> Vector:  # fmt: skip
    (H, V), K = v.shape[2:], q.shape[-1]
    whole(K, V)
    operands = [number for x in (q, k, v, beta) for number in e.vector(x).operand]
    decay = (0, 0) if log_decay is None else e.vector(log_decay).operand
    y, memory = e.w.fresh(v.numel()), e.memory(initial_state, H, K, V)
    e.w.write(DELTA, *operands, *decay, y.address, memory, H, K, V, tasks=H)
    return y
