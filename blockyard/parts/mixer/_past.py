"""Attention to what is cached and to this piece: one op, whatever it keeps and however a bias is added."""

from typing import Any

from torch import Tensor

from blockyard.core import Call, Part, Position, update_cache, visibility
from blockyard.kernels import attend, attend_scores, attend_values, attend_weights
from blockyard.kernels.dispatch import emitted, one_op

INSIDE = ("scores", "weights")  # hook points of what the op does not make


@one_op(emitted("blockyard.kernels.softmax.op", "attend_past"))
def attend_past(
    q: Tensor, k: Tensor, v: Tensor, state: Any, call: Call, window: int | None, sinks: int, position: Position | None,
    scale: float,
) -> tuple[Tensor, Any]:  # fmt: skip
    """Append k, v (B,T,G,K) to the state's cache and weigh it for q (B,T,H,K); the new leaves (None without a state).

    `position` may add a bias by distance; `window` and `sinks` say who is seen.
    """
    k, v, how, state = _seen(k, v, state, call, window, sinks, position)
    return attend(q, k, v, scale=scale, **how), state


def attend_shown(
    part: Part, q: Tensor, k: Tensor, v: Tensor, state: Any, call: Call, window: int | None, sinks: int,
    position: Position | None, scale: float,
) -> tuple[Tensor, Any]:  # fmt: skip
    """The same by the dense formula, with the hook points INSIDE: scores and weights (B,H,T,S), over all keys."""
    k, v, how, state = _seen(k, v, state, call, window, sinks, position)
    return weighed(part, q, k, v, call, scale=scale, **how), state


def weighed(part: Part, q: Tensor, k: Tensor, v: Tensor, call: Call, **how: Any) -> Tensor:
    """Attention by the dense formula, with the hook points INSIDE of a part."""
    weights = attend_weights(part.point("scores", attend_scores(q, k, **how), call))
    return attend_values(part.point("weights", weights, call), v)


def _seen(
    k: Tensor, v: Tensor, state: Any, call: Call, window: int | None, sinks: int, position: Position | None
) -> tuple[Tensor, Tensor, dict[str, Any], Any]:
    """Keys and values with the past before them, who sees them and with which bias, the new leaves."""
    k, v, positions, state = update_cache(state, k, v, call, window, sinks)
    if positions is None:
        seen = call.memoised(("visibility", window, sinks), lambda: visibility(call, window, sinks))
    else:
        seen = visibility(call, window, sinks, positions)
    mask = _biased(seen.mask, call, positions, position)
    return k, v, dict(mask=mask, causal=seen.causal, window=seen.window, sinks=seen.sinks, spans=seen.spans), state


def _biased(mask: Tensor | None, call: Call, positions: Tensor | None, position: Position | None) -> Tensor | None:
    """The mask with a head dimension, and with the position's bias by distance where it has one."""
    mask = None if mask is None else mask[:, None]
    bias = None if position is None else position.bias(call, positions)
    if bias is None:
        return mask
    return bias if mask is None else bias.masked_fill(~mask, float("-inf"))
