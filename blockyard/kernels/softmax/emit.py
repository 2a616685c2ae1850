"""Attention to what is remembered as an instruction."""

from typing import Any

import torch
from torch import Tensor

from blockyard.core.part import Position

from ..program.builder import Unrecordable, Vector
from ..program.codes import ATTEND, BLOCK
from ..program.emission import Emission, whole


def attend_past(
    e: Emission, q: Tensor, k: Tensor, v: Tensor, state: Any, call: Any, pattern: Any, position: Any, scale: float
) -> Vector:  # fmt: skip
    window, sinks = (None, 0) if pattern is None else (pattern.window, pattern.sinks)
    if pattern is not None and pattern.chooses:
        raise Unrecordable(f"pattern:{pattern.spec.name}, which reads by a mask")
    if pattern is not None and pattern.blurs:
        raise Unrecordable(f"pattern:{pattern.spec.name}, which reads otherwise what is further away")
    if position is not None and position.cap is not None:
        raise Unrecordable(f"position:{position.spec.name}, which reads otherwise what is far")
    w, (G, K), H, S = e.w, k.shape[2:], q.shape[2], e.w.capacity
    whole(K)
    if v.shape[-1] != K:
        raise Unrecordable(f"values of {v.shape[-1]} numbers behind keys of {K}")
    cache, given, y, bias = e.cache_of(state), [e.vector(x) for x in (q, k, v)], w.fresh(q.numel()), 0
    if position is not None and type(position).bias is not Position.bias:
        raise Unrecordable("a bias that is not by distance alone")
    table = None if position is None else position.by_distance(S)
    if table is not None:  # of the distances 1 - S to S - 1; none is below 0
        bias = w.constant(table[:, S - 1 :]).address
    coded = w.int8_cache and window is None
    if window is not None:
        w.windows[cache] = window, sinks
    kind, scales = (torch.int8, w.state(cache, "scales", G, 2, S)) if coded else (w.dtype, 0)
    keys = w.state(cache, "keys", G, S // BLOCK, K, BLOCK, dtype=kind)
    values = w.state(cache, "values", G, S, K, dtype=kind)
    seen = (bias, window or 0, sinks, w.number(scale))
    operands = [number for x in (*given, y) for number in x.operand]
    w.write(ATTEND, *operands, keys, values, S, G, H // G, K, K, *seen, scales, 8 * kind.itemsize, tasks=G)
    return y
