"""What a trained arm does with its context: probes of every final run, described and never ranked.

copying   bits a token that a second reading of the same row saves (text)
recall    nats that having seen a key with its value saves on that value (text)
horizon   tokens until what a recurrent step remembers has halved, the median over heads, a figure a step
rank      how many directions of that memory are in use, the mean over rows and heads, a figure a step
firing    the share of a channel's units that are not zero, a figure a channel that has exact zeros
entropy   nats of how widely tokens spread their attention, the mean over rows and heads, a figure an attention
"""

import math
from typing import Any

import numpy as np

from blockyard.compare.documents import Probes
from blockyard.core.errors import UsageError
from blockyard.probe import attention_entropy_probe, copying_probe, recall_probe, sparsity_probe, state_probe
from blockyard.task import Material

ROWS, PAIRS, TOKENS = 16, 8, 4  # a pair is two tokens of key and two of value


def inside(model: Any, data: Material, length: int) -> Probes:
    """The figures of one run; what a step or a length does not allow is left out."""
    if not model.of_ids or not model.claims.get("streams"):
        return Probes([], [])
    rows = data.exam("final", length).take(slice(0, ROWS))["tokens"]
    copying = recall = None
    if data.plain_text and length >= 8:
        copying = float(copying_probe(model, rows[:, : length // 2])["gap"].mean())
        pairs = min(PAIRS, length // TOKENS - 1, len(np.unique(rows)) - 1)
        if pairs > 1:
            recall = float(recall_probe(model, rows, pairs=pairs)["saved"].mean())
    state = state_probe(model, rows, facts=("horizon", "rank"))
    horizon = [_plain(np.median(value)) for name, value in state.items() if name.endswith(":horizon")]
    rank = [_plain(np.mean(value)) for name, value in state.items() if name.endswith(":rank")]
    entropy = [_plain(value.mean()) for value in attention_entropy_probe(model, rows).values()]
    return Probes(horizon, rank, copying, recall, _firing(model, rows), entropy)


def _firing(model: Any, rows: np.ndarray) -> list[float | None]:
    """Of every channel some of whose hidden numbers are zero, the share that is not."""
    try:
        found = sparsity_probe(model, rows)
    except UsageError:  # no channel has hidden units
        return []
    shares = [float(value.mean()) for name, value in found.items() if not name.endswith(":units")]
    return [share for share in shares if share < 1]


def _plain(value: Any) -> float | None:
    """A number that JSON can hold; None for one without end."""
    return float(value) if math.isfinite(value) else None
