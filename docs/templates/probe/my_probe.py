"""How sure is the model of its next token?

    entropy_t = - sum over v of p_t(v) log2 p_t(v)        0: certain; log2 V: no idea

Source   none
Family   probes
Differs  nothing known
"""

from typing import Annotated, Any

import torch

from blockyard.core.settings import Count
from blockyard.probe._read import Arrays, rows_of


@torch.no_grad()
def my_probe(model: Any, data: Any, *, batch: Annotated[Count, "rows at once"] = 16) -> Arrays:
    """Bits, of rows (n,L) of text: entropy (n,L) behind every token, by_position (L) the mean over rows."""
    found = []
    for rows in rows_of(model, data, 1).split(batch):
        log_p = model(rows).logits.double().log_softmax(-1)
        found.append(-(log_p.exp() * log_p).sum(-1) / torch.tensor(2.0).log())
    entropy = torch.cat(found).cpu().numpy()
    return {"entropy": entropy, "by_position": entropy.mean(0)}
