"""How differently do two models look at the same tokens?

    d = mean over tokens of sqrt(JS(a_t, b_t))        a_t, b_t what a head of each looks at from token t, JS in bits

of every head of one and every head of the other, step by step: 0 where they look at the same, 1 where at nothing in
common. Without another model b is even over all that a token sees. The mean over both heads says how near two steps
are, the smallest of a row whether any head of the other does the same.

Source   arXiv 2305.19466    Slug  pe-length-generalization
Family   probes
Differs  every pair of heads is given, not one number a layer
"""

from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core import UsageError
from blockyard.core.settings import Count
from blockyard.probe._read import Arrays, rows_of

Maps = dict[str, Tensor]  # (B,H,T,S) by path


def attention_distance_probe(
    model: Any, data: Any, other: Annotated[Any, "a second model; none: even attention"] = None, *,
    batch: Annotated[Count, "rows at once"] = 16,
) -> Arrays:  # fmt: skip
    """(H,G) for every step of attention (`steps.0.part`), on rows (n,L) of ids: H heads here, G there (1: even)."""
    rows, found = rows_of(model, data, 1), dict[str, Any]()
    for piece in rows.split(batch):
        mine = _maps(model, piece)
        theirs = {path: even(seen) for path, seen in mine.items()} if other is None else _maps(other, piece)
        if len(mine) != len(theirs):
            raise UsageError(f"steps of attention are compared one by one, and here are {len(mine)} and {len(theirs)}")
        for (path, a), b in zip(mine.items(), theirs.values()):
            apart = [_distance(a, head[:, None]).mean(2).sum(0) for head in b.unbind(1)]  # all at once are too many
            found[path] = found.get(path, 0) + torch.stack(apart, 1)
    return {path: (total / len(rows)).cpu().numpy() for path, total in found.items()}


@torch.no_grad()
def _maps(model: Any, tokens: Tensor) -> Maps:
    """What every step of attention looks at, in the order in which they run."""
    if not any("weights" in part.points for part in model.parts()):
        return {}
    device = next(model.parameters()).device
    seen = model(tokens.to(device), points={"*:weights": "read"}).captures
    several = any(loop for _, loop, _, _ in seen)
    return {
        f"{path}, loop {loop}" if several else path: value.double().to(tokens.device)
        for (_, loop, path, _), value in seen.items()
    }


def even(seen: Tensor) -> Tensor:
    """(B,1,T,S) even attention over the tokens that any head looks at."""
    visible = (seen > 0).any(1, keepdim=True).to(seen.dtype)
    return visible / visible.sum(-1, keepdim=True)


def _distance(a: Tensor, b: Tensor) -> Tensor:
    """(...,T) the root of the Jensen-Shannon divergence of distributions (...,T,S), in bits."""
    middle = (a + b) / 2
    nats = (torch.xlogy(a, a / middle) + torch.xlogy(b, b / middle)).nan_to_num(0).sum(-1) / 2
    return (nats / torch.tensor(2.0).log()).clamp(0, 1).sqrt()
