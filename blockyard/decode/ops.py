"""What our own ops become."""

from typing import Any

import torch
from torch import Tensor

from blockyard.core.state import tensors
from blockyard.decode.emit import Emitter, emits, whole
from blockyard.decode.framework import linear, norm, of_the_token
from blockyard.decode.graph import CACHES, storage
from blockyard.decode.record import Node, Unrecordable
from blockyard.decode.writer import LANES

emits("op:linear")(linear)


@emits("op:dense")
def packed_row(e: Emitter, node: Node, packed: Tensor, bits: int, group: int, K: int, rows: Tensor) -> None:
    whole(K)
    of_the_token(e, rows)
    y = e.w.fresh(K)
    e.w.write(e.op.EMBED, e.w.reads(packed), bits, K, *y.place, group)
    e.put(node.outs[0], y)


@emits("op:packed_linear")
def packed_linear(e: Emitter, node: Node, x: Tensor, packed: Tensor, bits: int, group: int, N: int) -> None:
    e.put(node.outs[0], e.w.packed(packed, bits, group, N, e.vector(x)))


@emits("op:rms_norm")
def rms_norm(e: Emitter, node: Node, x: Tensor, gain: Tensor, eps: float) -> None:
    norm(e, node, x, gain, eps, each=0 if gain.dim() == 1 else x.shape[-1])


@emits("op:gated")
def gated(e: Emitter, node: Node, x: Tensor, g: Tensor) -> None:
    e.put(node.outs[0], e.w.times(e.vector(x), e.w.map(e.op.SILU, e.vector(g))))


@emits("op:turn")
def turn(e: Emitter, node: Node, x: Tensor, cos: Tensor, sin: Tensor) -> None:
    heads, D = x.shape[-2:]
    whole(D)
    v, y = e.vector(x), e.w.fresh(x.numel())
    e.w.write(e.op.TURN, *v.place, *y.place, heads, D, e.table(cos).place[0], e.table(sin).place[0])
    e.put(node.outs[0], y)


@emits("op:attend_past")
def attend_past(
    e: Emitter, node: Node, q: Tensor, k: Tensor, v: Tensor, state: Any, call: Any, window: int | None, sinks: int,
    position: Any, scale: float,
) -> None:  # fmt: skip
    w, (G, K), H, S = e.w, k.shape[2:], q.shape[2], e.w.room
    whole(K)
    if v.shape[-1] != K:
        raise Unrecordable(f"values of {v.shape[-1]} numbers behind keys of {K}")
    path = e.graph.paths[storage(tensors(state)[0])]
    place = path[: next(i for i, name in enumerate(path) if name in CACHES)]
    given, y, bias = [e.vector(x) for x in (q, k, v)], w.fresh(q.numel()), 0
    table = None if position is None else position.by_distance(S)
    if table is not None:  # of the distances 1 - S to S - 1; none is below 0
        bias = w.constant(table[:, S - 1 :]).place[0]
    coded = w.int8_cache and window is None
    kind, scales = (torch.int8, w.state(place, "scales", G, 2, S)) if coded else (w.dtype, 0)
    keys = w.state(place, "keys", G, S // w.op.BLOCK, K, w.op.BLOCK, dtype=kind)
    values = w.state(place, "values", G, S, K, dtype=kind)
    seen = (bias, window or 0, sinks, w.number(scale))
    places = [number for x in (*given, y) for number in x.place]
    w.write(e.op.ATTEND, *places, keys, values, S, G, H // G, K, K, *seen, scales, 8 * kind.itemsize, tasks=G)
    e.put(node.outs[0], y)


@emits("op:decayed_scan")
def decayed_scan(
    e: Emitter, node: Node, q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, *, initial_state: Tensor, reset: Any
) -> None:
    (H, V), (G, K) = v.shape[2:], q.shape[2:]
    whole(K, V)
    given, y, memory = (
        [e.vector(x) for x in (q, k, v, log_decay)],
        e.w.fresh(v.numel()),
        e.memory(initial_state, H, K, V),
    )
    places, sizes = [number for x in given for number in x.place], (H, G, K, V, log_decay.shape[-1])
    e.w.write(e.op.DECAYED, *places, y.place[0], memory, *sizes, tasks=H)
    e.put(node.outs[0], y)


@emits("op:delta_scan")
def delta_scan(
    e: Emitter, node: Node, q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor | None = None, *,
    initial_state: Tensor, reset: Any,
) -> None:  # fmt: skip
    (H, V), K = v.shape[2:], q.shape[-1]
    whole(K, V)
    places = [number for x in (q, k, v, beta) for number in e.vector(x).place]
    decay = (0, 0) if log_decay is None else e.vector(log_decay).place
    y, memory = e.w.fresh(v.numel()), e.memory(initial_state, H, K, V)
    e.w.write(e.op.DELTA, *places, *decay, y.place[0], memory, H, K, V, tasks=H)
    e.put(node.outs[0], y)


@emits("op:selective_scan")
def selective_scan(
    e: Emitter, node: Node, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, *, initial_state: Tensor, reset: Any
) -> None:
    E, N = A.shape
    whole(E)
    xv, dv, bv, cv = (e.vector(t) for t in (x, dt, B, C))
    y, h, rate = e.w.fresh(E), e.memory(initial_state, N, E), e.w.constant(e.again(A, e.made).t())
    given = (*xv.place, *dv.place, rate.place[0], y.place[0], *bv.place, *cv.place, h, E, N)
    e.w.write(e.op.SELECTIVE, *given, tasks=-(-E // 64))
    e.put(node.outs[0], y)


@emits("op:diagonal_scan")
def diagonal_scan(e: Emitter, node: Node, x: Tensor, log_decay: Tensor, *, initial_state: Tensor, reset: Any) -> None:
    E = x.shape[-1]
    whole(E)
    xv, gv, y, h = e.vector(x), e.vector(log_decay), e.w.fresh(E), e.memory(initial_state, E)
    e.w.write(e.op.DIAGONAL, *xv.place, *gv.place, y.place[0], h, E, tasks=-(-E // 64))
    e.put(node.outs[0], y)


@emits("op:causal_conv")
def causal_conv(
    e: Emitter, node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None, *, tail: Tensor, valid: Any,
    reset: Any, silu: bool,
) -> None:  # fmt: skip
    C, W = x.shape[-1], weight.shape[1]
    whole(C)
    xv, y, held = e.vector(x), e.w.fresh(C), e.memory(tail, W - 1, C)
    taps = e.w.constant(e.again(weight, e.made).t().flip(0))
    offset = e.w.constant(torch.zeros(C)) if bias is None else e.constant(bias)
    given = (*xv.place, *y.place, held, taps.place[0], offset.place[0], C, W, int(silu))
    e.w.write(e.op.FILTER, *given, tasks=C // LANES)
    e.put(node.outs[0], y)
