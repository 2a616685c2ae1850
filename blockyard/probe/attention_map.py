"""What does each head look at: the token before, the first one, or what followed the same token earlier?

    PATH             mean over rows of A_ts                              (H,T,T)
    PATH:previous    mean over t of A_t,t-1
    PATH:first       mean over t > 0 of A_t,0                            a sink
    PATH:induction   mean over t of sum over j < t, x_j = x_t, of A_t,j+1
    PATH:... even    the same for even attention over all that any head of the step looks at: what chance gives

Every row is read `readings` times in one, so that each token has stood there before with a successor. Induction counts
every earlier place of the token; one that stands there for the first time is left out.

Source   arXiv 2209.11895
Family   probes
Differs  an earlier token is matched wherever it stood, not only one reading before
"""

from collections.abc import Iterator
from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core import UsageError
from blockyard.core.settings import Count
from blockyard.probe._inside import in_pieces, named
from blockyard.probe._read import Arrays, batch_of, rows_of
from blockyard.probe.attention_distance import even
from blockyard.probe.attention_entropy import weight_points

systems = ("llama",)


@torch.no_grad()
def attention_map_probe(
    model: Any, data: Any, *, readings: Annotated[Count, "how often each row is read, one after another"] = 2,
    batch: Annotated[Count, "rows at once"] = 16,
) -> Arrays:  # fmt: skip
    """Maps and scores (H,) of the heads of every step of attention, on rows (n,L) of ids: `steps.0.part:previous`."""
    points = weight_points(model)
    if not points:
        raise UsageError("this model has no step whose attention weights can be read")
    given = batch_of(model, rows_of(model, data, 2).repeat(1, readings))
    totals: dict[str, Tensor] = {}
    counts: dict[str, Tensor] = {}
    for piece in in_pieces(given, batch):
        flow = model.run(model.start(piece, points=points))
        for (_, loop, path, _), weights in flow.captures.items():
            for name, total, count in _sums(named(path, loop), weights.double(), piece.tokens):
                totals[name] = totals.get(name, 0) + total
                counts[name] = counts.get(name, 0) + count
    return {name: (total / counts[name].clamp(min=1)).cpu().numpy() for name, total in totals.items()}


def _sums(path: str, weights: Tensor, tokens: Tensor) -> Iterator[tuple[str, Tensor, Tensor]]:
    """The map of some rows and every score of them, each as a sum and what it is to be divided by."""
    rows, length = tokens.shape
    if weights.shape[0] != rows or weights.shape[2:] != (length, length):
        raise UsageError(f"{path} weighs {tuple(weights.shape)}: its rows are not those of the tokens")
    yield path, weights.sum(0), torch.tensor(rows)
    targets = looked_for(tokens)
    for name, (pairs, asked) in targets.items():
        for mark, seen in (("", weights), (" even", even(weights))):
            hit = (seen * pairs[:, None]).sum(-1) * asked[:, None]
            yield f"{path}:{name}{mark}", hit.sum((0, 2)), asked.sum()


def looked_for(tokens: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Of every score the pairs (B,T,T) of query and key that it counts, and the queries (B,T) that are asked."""
    rows, length = tokens.shape
    place = torch.arange(length, device=tokens.device)
    later = (place > 0).expand(rows, -1)
    before = (place[:, None] - place == 1).expand(rows, -1, -1)
    first = (place == 0).expand(rows, length, -1)
    same = (tokens[:, :, None] == tokens[:, None]) & (place[:, None] > place)  # x_j = x_t, j < t
    behind = torch.cat([torch.zeros_like(same[..., :1]), same[..., :-1]], -1)  # the key j + 1
    found = {"previous": (before, later), "first": (first, later), "induction": (behind, behind.any(-1))}
    return {name: (pairs.double(), asked.double()) for name, (pairs, asked) in found.items()}
