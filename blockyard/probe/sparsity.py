"""How many of the units inside channels fire?

    share = mean over tokens and units of 1[|a| > least]        a: what a channel's second matrix reads
    units = the same of every unit, over all tokens

With ReLU what does not fire is zero. Of activations without exact zeros (GELU, SiLU) `least` says what counts as none.
Tokens that do not count are left out.

Source   arXiv 2210.06313    Slug  lazy-neuron
Family   probes
Differs  the number of a unit, not its sign, decides: gated channels have units below zero that fire
"""

from typing import Annotated, Any

import torch

from blockyard.core.batch import Batch
from blockyard.core.errors import UsageError
from blockyard.core.settings import Count, NonNegative
from blockyard.probe._read import Arrays, rows_of


@torch.no_grad()
def sparsity_probe(
    model: Any, data: Any, *, batch: Annotated[Count, "rows at once"] = 16,
    least: Annotated[NonNegative, "up to which size a number does not fire"] = 0.0,
) -> Arrays:  # fmt: skip
    """Shares of rows (n,L) of ids, or of a batch of anything a model reads.

    `steps.1.part` (n,) of each row, `steps.1.part:units` (F,) of each unit; of a later loop, `steps.1.part@1`
    """
    parts = [step.part for step in model.steps]
    points = {f"{part.path}:hidden": "read" for part in parts if _has_units(part)}
    if not points:
        raise UsageError("no channel of this model has hidden units that a probe could count")
    fired: dict[str, list[Any]] = {}
    given = data if isinstance(data, Batch) else Batch(rows_of(model, data, 1))
    for first in range(0, len(given.tokens), batch):
        flow = model.run(model.start(given.rows(slice(first, first + batch)), points=points))
        for (_, loop, path, _), hidden in flow.captures.items():
            counts = flow.call.valid
            counts = torch.ones(len(flow.x), hidden.shape[1]) if counts is None else counts
            found = (hidden.abs() > least).double() * counts.to(hidden.device)[..., None]
            fired.setdefault(f"{path}@{loop}" if loop else path, []).append((found.sum(1), counts.double().sum(1)))
    made: Arrays = {}
    for name, pieces in fired.items():
        sums, counts = (torch.cat(each).cpu() for each in zip(*pieces))
        made[name] = (sums.mean(1) / counts).numpy()
        made[f"{name}:units"] = (sums.sum(0) / counts.sum()).numpy()
    return made


def _has_units(part: Any) -> bool:
    return part.spec.kind == "channel" and "hidden" in part.points
