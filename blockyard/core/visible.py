"""Who sees whom, and what is cached: the one file where cache, mask and positions meet.

A query sees a key of its own segment that counts and may be read, with key.order <= query.order, inside the window (on
both sides of the query, where it may see ahead); the first `sinks` positions always are. A pattern says what both are,
and may leave out more. A query that sees no key sees itself only; its output means nothing.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._C import _functorch  # pyright: ignore
from torch.compiler import is_compiling
from torch.nn.functional import pad

from blockyard.core.call import Call
from blockyard.core.state import Cache, Coded, Leaves, tree_cat


class Visibility(NamedTuple):
    """What an attention kernel needs: a mask (B or 1,T,S) of what is seen, or whether it is causal, in which window;
    `spans` (B or 1,T,2): no query sees more than the keys from one on and before another."""

    mask: Tensor | None
    causal: bool
    window: int | None = None
    sinks: int = 0
    spans: Tensor | None = None


class CacheUpdate(NamedTuple):
    """Keys and values with the past before them; their own positions (B,S) where slots are dropped; the leaves."""

    k: Tensor
    v: Tensor
    positions: Tensor | None
    state: Leaves | None


def visibility(call: Call, pattern: Any = None, positions: Tensor | None = None) -> Visibility:
    """What this call's queries see. The same for every layer of a pattern, unless a cache brings `positions`.

    pattern   a part of that kind (its window and sinks, and what it `leaves`); None: all that may be seen
    """
    window, sinks = (None, 0) if pattern is None else (pattern.window, pattern.sinks)
    if call.readable is not None or (pattern is not None and pattern.chooses):
        return _masked(call, pattern, positions)
    length = call.positions.shape[1]
    slots = length if call.past is None else call.past.positions.shape[1]
    keys = slots if positions is None else positions.shape[1]
    if call.aligned and not isinstance(call.order, Tensor):
        if slots == length and keys == length:
            if call.order is None:
                return Visibility(None, True, window, sinks)
            if window is None or length <= window:
                return Visibility(None, False)
        # once it is full, a windowed cache holds just what one more query sees
        if length == 1 and (window is None or (positions is not None and slots >= sinks + window)):
            return Visibility(None, False)
    if positions is None and not sinks and (window is None or call.order is None):
        spans = _spans(call)
        if spans is not None:
            return Visibility(None, call.order is None, window, 0, spans)
    return _masked(call, pattern, positions)


def _masked(call: Call, pattern: Any, positions: Tensor | None) -> Visibility:
    """The same as a mask, whatever it is."""
    length = call.positions.shape[1]
    rows = slice(0, 1) if call.aligned else slice(None)
    q_pos = call.positions[rows]
    q_order = call.order[rows] if isinstance(call.order, Tensor) else q_pos
    if positions is not None:
        k_pos = k_order = positions[rows]
    elif call.past is not None:
        k_pos = call.past.positions[rows]
        k_order = k_pos if call.past.order is None else call.past.order[rows]
    else:
        k_pos = q_pos if call.valid is None else q_pos.masked_fill(~call.valid[rows], -1)
        k_order = q_order
    seen = (k_pos >= 0)[:, None, :]
    if call.order is None or isinstance(call.order, Tensor):
        seen = seen & (k_order[:, None, :] <= q_order[:, :, None])
    if call.segment is not None:
        seen = seen & (call.segment[rows][:, None, :] == call.segment[rows][:, :, None])
    if pattern is not None and pattern.window is not None:
        near = (q_pos[:, :, None] - k_pos[:, None, :]).abs() < pattern.window
        seen = seen & (near | (k_pos < pattern.sinks)[:, None, :])
    if pattern is not None and pattern.chooses:
        seen = seen & pattern.leaves(q_pos, k_pos.clamp(min=0), call)
    if call.readable is not None:
        seen = seen & call.readable[:, None, :]
    keys = k_pos.shape[1]
    itself = pad(torch.eye(length, dtype=torch.bool, device=seen.device), (keys - length, 0))
    return Visibility(seen | (itself & ~seen.any(-1, keepdim=True)), False)


def _spans(call: Call) -> Tensor | None:
    """(B,T,2) where the run of valid tokens of one segment begins that a token is in, and where it ends; a token that
    does not count is alone. None: a segment has gaps, a past or an order, or this is no place to look at numbers."""
    x = call.positions if call.valid is None else call.valid
    plain = type(x) is Tensor and x.is_cpu and not is_compiling() and _functorch.peek_interpreter_stack() is None
    if not plain or call.past is not None or isinstance(call.order, Tensor):
        return None
    first = torch.zeros(call.positions.shape, dtype=torch.bool) if call.reset is None else call.reset.clone()
    first[:, :1] = True
    if call.valid is not None:
        begins = call.valid & (first | ~pad(call.valid, (1, -1)))
        segments = call.valid.any(1) + (0 if call.reset is None else call.reset.sum(1))
        if not torch.equal(begins.sum(1), segments):
            return None
        first = begins | ~call.valid
    length = first.shape[1]
    at = torch.arange(length)
    since = torch.where(first, at, 0).cummax(1).values
    behind = torch.where(pad(first, (-1, 1), value=True), at + 1, length)
    until = behind.flip(1).cummin(1).values.flip(1)
    return torch.stack([since, until], -1).int()


def update_cache(
    state: Leaves | None, k: Tensor, v: Tensor, call: Call, window: int | None = None, sinks: int = 0
) -> CacheUpdate:
    """Append this piece's keys and values (B,T,H,D); under a window, keep only what a later query may see."""
    if state is None:
        return CacheUpdate(k, v, None, None)
    assert call.past is not None
    if window is None or call.past.order is not None:
        here = Cache(Coded.of(k), Coded.of(v)) if call.past.int8 else Cache(k, v)
        cache = tree_cat([state["cache"], here], 1) if "cache" in state else here
        k, v = cache.numbers(k.dtype)
        return CacheUpdate(k, v, None, {"cache": cache})
    # places are positions + 1, so that a leaf of zeros is an empty one
    found = {"k": k, "v": v, "places": call.past.positions[:, -k.shape[1] :] + 1}
    if "recent" in state:
        found = {name: torch.cat([state["recent"][name], x], 1) for name, x in found.items()}
    seen = CacheUpdate(found["k"], found["v"], found["places"] - 1, None)
    full = call.aligned and call.past.positions.shape[1] - k.shape[1] >= sinks + window - 1
    return seen._replace(state={"recent": _slice(found, window, sinks) if full else _latest(found, window, sinks)})


def _slice(found: Leaves, window: int, sinks: int) -> Leaves:
    """The sinks and the last slots of rows that stand alike."""
    return {name: torch.cat([x[:, :sinks], x[:, x.shape[1] - window + 1 :]], 1) for name, x in found.items()}


def _latest(found: Leaves, window: int, sinks: int) -> Leaves:
    """The same for rows with empty slots: sorted by place, empty ones first, always sinks + window - 1 slots."""
    places, count = found["places"], sinks + window - 1
    places = pad(places, (max(0, count - places.shape[1]), 0))
    last = places.max(1, keepdim=True).values
    places = torch.where((places <= sinks) | (places > last - window + 1), places, 0)
    index = places.argsort(dim=1, stable=True)[:, places.shape[1] - count :]
    rows = torch.arange(len(places), device=places.device)[:, None]
    short = places.shape[1] - found["k"].shape[1]
    kept = {name: pad(found[name], (0, 0, 0, 0, short, 0))[rows, index] for name in ("k", "v")}
    return kept | {"places": places[rows, index]}


def max_distance(call: Call) -> int:
    """A bound that no distance between a query and a key reaches."""
    return call.positions.shape[1] if call.past is None else call.past.positions.shape[1]


def distances(call: Call, positions: Tensor | None = None) -> Tensor:
    """(B or 1,T,S) how far each key lies behind each query."""
    rows = slice(0, 1) if call.aligned else slice(None)
    k_pos = call.positions if call.past is None else call.past.positions
    k_pos = (k_pos if positions is None else positions)[rows].clamp(min=0)
    return call.positions[rows][:, :, None] - k_pos[:, None, :]
