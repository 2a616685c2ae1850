"""The scan of a fading matrix memory as an instruction."""

from typing import Any

from torch import Tensor

from ..program.builder import Vector
from ..program.codes import DECAYED
from ..program.emission import Emission, whole


def decayed_scan(
    e: Emission, q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, *, initial_state: Tensor, reset: Any
) -> Vector:
    (H, V), (G, K) = v.shape[2:], q.shape[2:]
    whole(K, V)
    operands = [number for x in (q, k, v, log_decay) for number in e.vector(x).operand]
    y, memory = e.w.fresh(v.numel()), e.memory(initial_state, H, K, V)
    e.w.write(DECAYED, *operands, y.address, memory, H, G, K, V, log_decay.shape[-1], tasks=H)
    return y
