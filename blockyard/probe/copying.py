"""In-context copying on real text: the same row twice; how much cheaper is the second reading?

    bits_first, bits_second = mean over positions 1..L-1 of -log2 p(token | before), in the first and the second copy
    gap = bits_first - bits_second        0: nothing was copied; near bits_first: copied by heart

The first token of each copy is left out (nothing announces the second one), so that both means are over the same
tokens. The model has to take rows of 2 L tokens.

Source   arXiv 2209.11895, 2402.01032
Family   probes
Differs  both readings stand in one row, so a model has to take rows twice as long
"""

import math
from typing import Annotated, Any

import torch

from blockyard.core.settings import Count
from blockyard.probe._read import Arrays, nats, rows_of


def copying_probe(model: Any, data: Any, *, batch: Annotated[Count, "rows at once"] = 16) -> Arrays:
    """Bits per token of rows (n,L) of text.

    first, second, gap (n,) of each row; by_position (2,L-1) the mean over rows at every position of both copies
    """
    rows = rows_of(model, data, 2)
    length = rows.shape[1]
    bits = nats(model, torch.cat([rows, rows], 1), batch) / math.log(2)
    first, second = bits[:, : length - 1], bits[:, length:]
    return {
        "first": first.mean(1), "second": second.mean(1), "gap": (first - second).mean(1),
        "by_position": torch.stack([torch.from_numpy(first.mean(0)), torch.from_numpy(second.mean(0))]).numpy(),
    }  # fmt: skip
