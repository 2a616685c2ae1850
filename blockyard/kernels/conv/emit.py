"""The short filter as an instruction."""

from typing import Any

import torch
from torch import Tensor

from ..program.builder import Vector
from ..program.codes import FILTER, LANES
from ..program.emission import Emission, whole


def causal_conv(
    e: Emission, x: Tensor, weight: Tensor, bias: Tensor | None = None, *, tail: Tensor, valid: Any, reset: Any,
    silu: bool,
) -> Vector:  # fmt: skip
    C, W = x.shape[-1], weight.shape[1]
    whole(C)
    xv, y, held = e.vector(x), e.w.fresh(C), e.memory(tail, W - 1, C)
    taps = e.w.constant(e.computed(weight).t().flip(0))
    offset = e.w.constant(torch.zeros(C)) if bias is None else e.constant(bias)
    given = (*xv.operand, *y.operand, held, taps.address, offset.address, C, W, int(silu))
    e.w.write(FILTER, *given, tasks=C // LANES)
    return y
