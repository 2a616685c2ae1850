"""How little does each step change the stream?

    score = mean over tokens of cos(x, y)        x the stream before a step, y after it; 1: the step does nothing

x and y are the stream as a head would read it there. Cosines are in double precision; a stream of zeros that stays zero
scores 1.

Source   arXiv 2406.15786    Slug  llm-drop
Family   probes
Differs  x and y stand behind the residual rule, so that every rule has them
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core.batch import Batch
from blockyard.core.settings import Count
from blockyard.probe._read import Arrays, rows_of

Unit = tuple[int, ...]  # neighbouring steps


def step_cosine_probe(model: Any, data: Any, *, batch: Annotated[Count, "rows at once"] = 16) -> Arrays:
    """Cosines of rows (n,L) of ids, (n,) the mean over each row's tokens for every step: `steps.0.part`."""
    steps = [(step,) for step in range(len(model.steps))]
    found: dict[str, list[Tensor]] = {}
    for piece in rows_of(model, data, 1).split(batch):
        for (step,), total, count in cosines(model, Batch(piece), steps):
            found.setdefault(model.steps[step].part.path, []).append(total / count)
    return {path: torch.cat(rows).cpu().numpy() for path, rows in found.items()}


@torch.no_grad()
def cosines(model: Any, batch: Batch, units: Sequence[Unit]) -> Iterator[tuple[Unit, Tensor, Tensor]]:
    """Of every unit, neighbouring steps, the cosines of the stream in front of it and behind it: summed over the
    tokens of each row that count (B,), and the number of these (B,). Steps run in their order, each once."""
    flow = model.start(batch)
    first, last = ({unit[end]: unit for unit in units} for end in (0, -1))
    before = flow.x
    for step in range(len(model.steps)):
        if step in first:
            before = flow.x
        flow = model.run(flow, [step])
        if step in last:
            yield last[step], *_alike(before, flow.x, batch)


def _alike(before: Tensor, after: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    if before.shape != after.shape:  # a junction: nothing to compare
        return before.new_zeros(len(before)), before.new_ones(len(before))
    x, y = before.double(), after.double()
    size = x.norm(dim=-1) * y.norm(dim=-1)
    still = (size == 0) & (x == y).all(-1)
    each = torch.where(still, 1.0, (x * y).sum(-1) / torch.where(size == 0, 1.0, size))
    counts = torch.ones_like(each) if batch.valid is None else batch.valid.to(each)
    return (each * counts).sum(1), counts.sum(1)
