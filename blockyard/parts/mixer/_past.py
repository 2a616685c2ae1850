"""Attention to what is cached and to this piece: one op, whatever it keeps, adds by distance, or reads from afar."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from blockyard.core import Call, Part, Position, distances, max_distance, update_cache, visibility
from blockyard.core.part import Level, Pattern, Weigh
from blockyard.kernels import attend, attend_scores, attend_values, attend_weights
from blockyard.kernels.dispatch import emitted, one_op

INSIDE = ("scores", "weights")  # hook points of what the op does not make


class Read(NamedTuple):
    """Keys and values with the past before them, who sees them and with which bias, the new leaves; the positions (B,S)
    of the keys where a cache dropped some; the same keys and values as they are read further away."""

    k: Tensor
    v: Tensor
    how: dict[str, Any]
    state: Any
    positions: Tensor | None
    further: list[Level]


@one_op(emitted("blockyard.kernels.softmax.op", "attend_past"))
def attend_past(
    q: Tensor, k: Tensor, v: Tensor, state: Any, call: Call, pattern: Pattern | None, position: Position | None,
    scale: float,
) -> tuple[Tensor, Any]:  # fmt: skip
    """Append k, v (B,T,G,K) to the state's cache and weigh it for q (B,T,H,K); the new leaves (None without a state).

    `position` may add a bias and read otherwise what is far; `pattern` says who is seen of those who may be.
    """
    read = _read(k, v, state, call, pattern, position)
    far = position is not None and _is_far(position, pattern, call)
    if not far and not read.further:
        return attend(q, read.k, read.v, scale=scale, **read.how), read.state
    if position is not None and _is_two_pieces(position, pattern, read, q.shape[1]):
        return _near_and_far(q, read, call, pattern, position, scale), read.state
    weights = attend_weights(_scores(q, read, call, pattern, position, scale))
    return _values(weights, read, call), read.state


def attend_shown(
    part: Part, q: Tensor, k: Tensor, v: Tensor, state: Any, call: Call, pattern: Pattern | None,
    position: Position | None, weigh: Weigh, scale: float,
) -> tuple[Tensor, Any]:  # fmt: skip
    """The same by the dense formula, with the hook points INSIDE: scores and weights (B,H,T,S), over all keys."""
    read = _read(k, v, state, call, pattern, position)
    scores = _scores(q, read, call, pattern, position, scale)
    if position is not None and position.rescores:
        scores = position.at_scores(scores, q, call, read.positions)
    weights = weigh(part.point("scores", scores, call), call)
    return _values(part.point("weights", weights, call), read, call), read.state


def weighed(part: Part, q: Tensor, k: Tensor, v: Tensor, call: Call, **how: Any) -> Tensor:
    """Attention by the dense formula, with the hook points INSIDE of a part."""
    weights = attend_weights(part.point("scores", attend_scores(q, k, **how), call))
    return attend_values(part.point("weights", weights, call), v)


def seen(call: Call, pattern: Pattern | None) -> Any:
    """The key and the maker of what is seen of a call's own tokens, for its memo."""
    key = ("visibility", None if pattern is None else pattern.key)
    return key, lambda: visibility(call, pattern)


def _read(
    k: Tensor, v: Tensor, state: Any, call: Call, pattern: Pattern | None, position: Position | None
) -> Read:  # fmt: skip
    further: list[Level] = []
    if pattern is not None and pattern.blurs:
        ((_, k, v), *further), state = pattern.levels(k, v, state, call)
        positions = None
    else:
        window, sinks = (None, 0) if pattern is None else (pattern.window, pattern.sinks)
        k, v, positions, state = update_cache(state, k, v, call, window, sinks)
    found = call.memoised(*seen(call, pattern)) if positions is None else visibility(call, pattern, positions)
    mask = _biased(found.mask, call, positions, position)
    how = dict(mask=mask, causal=found.causal, window=found.window, sinks=found.sinks, spans=found.spans)
    return Read(k, v, how, state, positions, further)


def _biased(mask: Tensor | None, call: Call, positions: Tensor | None, position: Position | None) -> Tensor | None:
    """The mask with a head dimension, and with the position's bias by distance where it has one."""
    mask = None if mask is None else mask[:, None]
    bias = None if position is None else position.bias(call, positions)
    if bias is None:
        return mask
    return bias if mask is None else bias.masked_fill(~mask, float("-inf"))


def _is_far(position: Position, pattern: Pattern | None, call: Call) -> bool:
    """Whether a query of this call may see a key at the distance from which on it is read otherwise."""
    if position.cap is None or max_distance(call) <= position.cap:
        return False
    return pattern is None or pattern.window is None or pattern.window > position.cap or pattern.sinks > 0


def _is_two_pieces(position: Position, pattern: Pattern | None, read: Read, length: int) -> bool:
    """Whether the window ends just where distance is capped, so that only sinks are far, in one whole row of tokens."""
    if pattern is None or pattern.window is None or pattern.window != position.cap:
        return False
    plain = read.how["mask"] is None and read.how["spans"] is None and read.how["causal"] and read.k.shape[1] == length
    return plain and length > pattern.window + pattern.sinks


def _scores(
    q: Tensor, read: Read, call: Call, pattern: Pattern | None, position: Position | None, scale: float
) -> Tensor:
    """(B,H,T,S) all scores, of every pair by the key as it is read at its distance."""
    scores = _scores_of(q, read.k, read, call, pattern, position, scale)
    for level in read.further:
        there = _scores_of(q, level.k, read, call, pattern, position, scale)
        scores = torch.where(_apart(call) >= level.age, there, scores)
    return scores


def _scores_of(
    q: Tensor, k: Tensor, read: Read, call: Call, pattern: Pattern | None, position: Position | None, scale: float
) -> Tensor:
    """The same of keys k; of pairs that are far those of queries and keys as they meet there."""
    scores = attend_scores(q, k, scale=scale, **read.how)
    if position is None or not _is_far(position, pattern, call):
        return scores
    q, k = position.at_far(q, k, call, _places(call, read.positions))
    far = (distances(call, read.positions) >= (position.cap or 0))[:, None]
    return torch.where(far, attend_scores(q, k, scale=scale, **read.how), scores)


def _values(weights: Tensor, read: Read, call: Call) -> Tensor:
    """(B,T,H,V) the values as weights (B,H,T,S) count them, each as it is read at its distance."""
    if not read.further:
        return attend_values(weights, read.v)
    apart, levels = _apart(call), [Level(0, read.k, read.v), *read.further]
    parts = []
    for level, until in zip(levels, [*(each.age for each in read.further), None]):
        here = apart >= level.age if until is None else (apart >= level.age) & (apart < until)
        parts.append(attend_values(weights.masked_fill(~here, 0), level.v))
    return sum(parts[1:], parts[0])


def _apart(call: Call) -> Tensor:
    """(B or 1,1,T,S) how far each query and each key stand apart, of all keys."""
    return distances(call).abs()[:, None]


def _places(call: Call, positions: Tensor | None) -> Tensor:
    """(B or 1,S) the positions of the keys."""
    if positions is None:
        positions = call.positions if call.past is None else call.past.positions
    return positions[:1] if call.aligned else positions


def _near_and_far(
    q: Tensor, read: Read, call: Call, pattern: Pattern | None, position: Position, scale: float
) -> Tensor:
    """The op on the window and on the sinks, in one softmax and at the cost of both.

    Behind the first window and the sinks every sink is far and outside the window. There a query stands twice, as it
    meets what is near and what is far, side by side, and a key once, beside zeros.
    """
    assert pattern is not None and pattern.window is not None
    sinks = pattern.sinks
    whole = pattern.window + sinks
    call = call._replace(past=None)  # a state holds nothing yet but these tokens
    near_q, far_q = q[:, whole:], position.at_far(q, read.k[:, :sinks], call, _places(call, None)[:, :sinks])
    first = read._replace(k=read.k[:, :whole], v=read.v[:, :whole], positions=None)
    begin = call._replace(positions=call.positions[:, :whole])
    one = attend_values(attend_weights(_scores(q[:, :whole], first, begin, pattern, position, scale)), first.v)
    k, v = read.k, torch.cat([read.v[:, :sinks], read.v], 1)
    far, near = torch.cat([torch.zeros_like(far_q[1]), far_q[1]], -1), torch.cat([k, torch.zeros_like(k)], -1)
    both = torch.cat([near_q, far_q[0][:, whole:]], -1)
    rest = attend(both, torch.cat([far, near], 1), v, scale=scale, **read.how)
    return torch.cat([one, rest], 1)
