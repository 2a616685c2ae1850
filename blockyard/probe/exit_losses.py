"""What a model would lose if it were read after each of its blocks, by its own head.

    loss_k = mean over tokens of -log2 p(next | head(x_k))        x_k: the stream behind k blocks, x_0: the stem's

Every loop of a block counts by itself. The last loss is that of the model.

Source   arXiv 2404.16710, 2303.08112 (read early, without a lens that is fitted)
Family   probes
Differs  the head is used as it is; no lens is fitted to each depth
"""

import math
from typing import Annotated, Any

import torch
from torch.nn.functional import cross_entropy

from blockyard.core.batch import Batch
from blockyard.core.errors import UsageError
from blockyard.core.settings import Count
from blockyard.probe._read import Arrays, rows_of


@torch.no_grad()
def exit_losses_probe(model: Any, data: Any, *, batch: Annotated[Count, "rows at once"] = 16) -> Arrays:
    """Bits per token of rows (n,L) of ids: loss (n,N+1) behind the stem and behind each of N blocks."""
    rows = rows_of(model, data, 1)
    if rows.shape[1] < 2:
        raise UsageError("the loss of a next token needs rows of 2 tokens or more")
    found = []
    for piece in rows.split(batch):
        flow = model.start(Batch(piece))
        losses = []
        for each in (flow, *model.through(flow)):
            logits = model.finish(each).logits[:, :-1].float()
            nats = cross_entropy(logits.flatten(0, 1), piece[:, 1:].flatten(), reduction="none")
            losses.append(nats.view(len(piece), -1).double().mean(1) / math.log(2))
        found.append(torch.stack(losses, 1))
    return {"loss": torch.cat(found).cpu().numpy()}
