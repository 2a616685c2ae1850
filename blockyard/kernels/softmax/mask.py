"""Who may see whom, and how many pairs that are."""

import torch
from torch import Tensor


def seen(queries: range, places: Tensor, window: int | None, sinks: int) -> Tensor:
    """(T,S) whether the query at a place may see the key at another one."""
    apart = torch.arange(queries.start, queries.stop, device=places.device)[:, None] - places
    return apart >= 0 if window is None else (apart >= 0) & ((apart < window) | (places < sinks))


def within(spans: Tensor, keys: int) -> Tensor:
    """(B,1,T,S) whether a key is one of those from spans[..., 0] on and before spans[..., 1]."""
    places, (since, until) = torch.arange(keys, device=spans.device), spans[:, None].unsqueeze(-2).unbind(-1)
    return (since <= places) & (places < until)


def folded(see: Tensor, mask: Tensor | None) -> Tensor:
    """What both let through, of the mask's kind."""
    if mask is None:
        return see
    return mask & see if mask.dtype == torch.bool else mask.masked_fill(~see, float("-inf"))


def visible(
    q: Tensor, k: Tensor, causal: bool, mask: Tensor | None, window: int | None, sinks: int, spans: Tensor | None = None
) -> Tensor | None:
    """`mask` with causality and spans folded in."""
    if spans is not None:
        mask = folded(within(spans, k.shape[1]), mask)
    if not causal:
        if window is not None:
            raise ValueError(f"window={window} needs causal=True: it counts keys from the query back")
        return mask
    T, S = q.shape[1], k.shape[1]
    return folded(seen(range(S - T, S), torch.arange(S, device=q.device), window, sinks), mask)


def pairs_below(places: int, window: int | None, sinks: int) -> int:
    """How many pairs the causal queries at the first so many places have: those of the window, then those of sinks."""
    near = places if window is None else min(places, window)
    far = places - near
    some = min(far, sinks)
    return near * (near + 1) // 2 + far * near + some * (some + 1) // 2 + (far - some) * some
