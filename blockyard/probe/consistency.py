"""Does a model answer the same when a question is told differently?

    p_w(v) = softmax(logits behind the last token of way w)
    agreement = share of pairs of ways with the same likeliest token
    divergence = H(mean over w of p_w) - mean over w of H(p_w)        bits: 0 where all say the same, at most log2 ways

Rows stand in groups of `ways`: one question each, told in another order or with other names, and with the same right
answer. A model that always answers alike is consistent, and may be wrong: look at its error beside it.

Source   arXiv 2410.05339    Slug  nelamkrr
Family   probes
Differs  our reading: agreement of pairs, and the Jensen-Shannon divergence
"""

import math
from typing import Annotated, Any

import torch

from blockyard.core.errors import UsageError
from blockyard.core.settings import Count
from blockyard.probe._read import Arrays, rows_of


@torch.no_grad()
def consistency_probe(
    model: Any, data: Any, *, ways: Annotated[Count, "rows of a question, one behind the other"] = 2,
    batch: Annotated[Count, "rows at once"] = 16,
) -> Arrays:  # fmt: skip
    """Of rows (n ways, L) of ids: agreement (n), divergence (n) of each question."""
    rows = rows_of(model, data, 1)
    if ways < 2 or len(rows) % ways:
        raise UsageError(f"{len(rows)} rows are no questions of ways={ways}; give at least 2 ways of every question")
    said = torch.cat([model(piece).logits[:, -1].double().log_softmax(-1) for piece in rows.split(batch)])
    said = said.unflatten(0, (-1, ways))
    first = said.argmax(-1)
    pairs = (first[:, :, None] == first[:, None, :]).double().sum((1, 2)) - ways
    p, mean = said.exp(), said.exp().mean(1)
    bits = torch.special.entr(mean).sum(-1) - torch.special.entr(p).sum(-1).mean(1)
    divergence = (bits / math.log(2)).clamp(min=0)
    return {"agreement": (pairs / (ways * (ways - 1))).cpu().numpy(), "divergence": divergence.cpu().numpy()}
