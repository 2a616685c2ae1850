"""How widely do tokens spread their attention?

    entropy_t = - sum over s of A_ts log A_ts        0: one token has it all; log S: all S have as much

Near 0 for all heads of a layer, attention has collapsed. A bound of the scores bounds it from below, see
`least_entropy`. Tokens that do not count are left out.

Source   arXiv 2303.06296    Slug  sigma-reparam
Family   probes
Differs  nothing known
"""

import math
from typing import Annotated, Any

import torch

from blockyard.core.errors import UsageError
from blockyard.core.settings import Count
from blockyard.probe._read import Arrays, batch_of


@torch.no_grad()
def attention_entropy_probe(model: Any, data: Any, *, batch: Annotated[Count, "rows at once"] = 16) -> Arrays:
    """Nats, the mean over the tokens of each row, of rows (n,L) of ids or of a batch of anything a model reads.

    `steps.0.part` (n,H) of every head; of a later loop, `steps.0.part@1`
    """
    points = weight_points(model)
    given = batch_of(model, data)
    found: dict[str, list[Any]] = {}
    for first in range(0, len(given.tokens) if points else 0, batch):
        flow = model.run(model.start(given.rows(slice(first, first + batch)), points=points))
        for path, mean in entropies(flow).items():
            found.setdefault(path, []).append(mean)
    return {path: torch.cat(pieces).cpu().numpy() for path, pieces in found.items()}


def weight_points(model: Any) -> dict[str, str]:
    """The hook points of the weights of every step that attends, to be read."""
    return {f"{step.part.path}:weights": "read" for step in model.steps if "weights" in step.part.points}


def entropies(flow: Any) -> dict[str, torch.Tensor]:
    """(B,H) of every step whose weights a flow has read, the mean over the tokens of each row that count."""
    found = {}
    for (_, loop, path, _), weights in flow.captures.items():
        entropy = torch.special.entr(weights.double()).sum(-1)
        counts = torch.ones_like(entropy[:, 0]) if flow.call.valid is None else flow.call.valid.double()
        mean = (entropy * counts[:, None]).sum(-1) / counts.sum(-1, keepdim=True)
        found[f"{path}@{loop}" if loop else path] = mean
    return found


def least_entropy(size: float, tokens: int) -> float:
    """The least entropy of a softmax over so many tokens whose scores, as a vector, are no longer than `size`.

        b = exp(-s sqrt(S / (S-1)))        log(1 + (S-1) b) + s sqrt(S (S-1)) b / (1 + (S-1) b)

    Queries X W_q and keys X W_k have scores no longer than the largest singular value of W_q W_k^T times that of X X^T.
    """
    if tokens < 2:
        raise UsageError(f"least_entropy: tokens={tokens} must be at least 2")
    others = tokens - 1
    b = math.exp(-size * math.sqrt(tokens / others))
    return math.log1p(others * b) + size * math.sqrt(tokens * others) * b / (1 + others * b)
