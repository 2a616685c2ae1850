"""Recall in context: random pairs of a key and a value, then one of the keys; what does having seen the pair save?

    with      k1 v1  k2 v2  ...  kP vP   kj | vj            nats of vj
    without   the same, with another random pair in the place of (kj, vj)
    saved     without - with        0: the pair was of no use

Both rows have the same length and end alike, so that nothing but the pair differs. Keys and values are drawn evenly
from the ids that the data holds; the first tokens of the keys of a row are different.

Source   arXiv 2312.04927, 2402.01032
Family   probes
Differs  the row without the pair has another pair in its place, so lengths and endings agree
"""

from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core import UsageError
from blockyard.core.random import uniform
from blockyard.core.settings import Count, Natural
from blockyard.probe._read import Arrays, ids, nats


def recall_probe(
    model: Any, data: Any, *, rows: Annotated[Count, "rows that are asked"] = 64,
    pairs: Annotated[Count, "pairs a row"] = 8, key: Annotated[Count, "tokens of a key"] = 2,
    value: Annotated[Count, "tokens of a value"] = 2, seed: Annotated[Natural, "of what is drawn"] = 0,
    batch: Annotated[Count, "rows at once"] = 32,
) -> Arrays:  # fmt: skip
    """Nats of the asked value, summed over its tokens.

    data   ids of any shape whose kinds are drawn from: text, or the whole vocabulary
    with, without, saved (rows,); distance (rows,) tokens from the end of the asked pair to the second one of its key
    """
    kinds = ids(model, data).unique()
    if min(rows, pairs, key, value, batch) < 1 or len(kinds) <= pairs:
        raise UsageError(f"recall: {pairs} pairs need {pairs + 1} kinds of ids or more, not {len(kinds)}; sizes from 1")
    shown, spare, ask = _pairs(kinds, rows, pairs, key, value, seed)
    line = torch.arange(rows, device=kinds.device)
    asked = shown[line, ask]
    other = shown.clone()
    other[line, ask] = spare
    figures = {}
    for name, context in (("with", shown), ("without", other)):
        row = torch.cat([context.flatten(1), asked], 1)
        figures[name] = nats(model, row, batch)[:, -value:].sum(1)
    distance = (pairs - 1 - ask) * (key + value)
    return {**figures, "saved": figures["without"] - figures["with"], "distance": distance.cpu().numpy()}


def _pairs(kinds: Tensor, rows: int, pairs: int, key: int, value: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """(rows,pairs,key+value) pairs, (rows,key+value) one more to replace the asked one, (rows,) which is asked."""

    def draw(name: str, *shape: int) -> Tensor:
        return uniform(("recall", seed, name), (rows, *shape), kinds.device)

    heads = kinds[draw("heads", len(kinds)).argsort(dim=1, stable=True)[:, : pairs + 1]]
    rest = kinds[(draw("rest", pairs + 1, key + value - 1) * len(kinds)).long()]
    drawn = torch.cat([heads[..., None], rest], 2)
    return drawn[:, :-1], drawn[:, -1], (draw("ask") * pairs).long()
