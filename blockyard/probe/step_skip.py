"""How much does the loss rise when one step, or one layer, is left out?

    rise = L without it - L        L: the mean of -ln p(token | before) over a row, in nats

A step that is left out writes nothing, and its residual rule does nothing either: of a post-norm step the norm goes
with it. A step that runs several times is left out each time. Layers are the blocks that the depth program lays.

Source   arXiv 2412.13795, 2403.17887    Slug  mix-ln
Family   probes
Differs  nothing is removed for good; transform:cut does that
"""

from collections.abc import Collection
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from blockyard.core import Batch
from blockyard.core.settings import Count
from blockyard.model.step import Step
from blockyard.probe._read import Arrays, next_nats, rows_of


def step_skip_probe(model: Any, data: Any, *, batch: Annotated[Count, "rows at once"] = 16) -> Arrays:
    """The rise on rows (n,L) of ids, (n,) of each row, for every step (`steps.0.part`) and layer (`layers.0`); and the
    `loss` (n,) of the whole."""
    model.require("causal", "a probe of the loss of the next token")
    rows = rows_of(model, data, 2)
    # later steps stand on what a junction or a wider stream gives
    able = [isinstance(unit, Step) and unit.rule.wider is None for unit in model.steps]
    units = {unit.part.path: {index} for index, unit in enumerate(model.steps) if able[index]}
    layers = {f"layers.{i}": set(steps) for i, steps in enumerate(model.depth.blocks)}
    units |= {name: steps for name, steps in layers.items() if all(able[step] for step in steps)}
    whole = _losses(model, rows, batch, ())
    return {"loss": whole} | {name: _losses(model, rows, batch, left) - whole for name, left in units.items()}


@torch.no_grad()
def _losses(model: Any, rows: Tensor, batch: int, left_out: Collection[int]) -> np.ndarray:
    """(n,) the mean nats of each row, of a model that passes over some steps."""

    def run(flow: Any, step: int, loop: int = 0, **how: Any) -> Any:
        return flow if step in left_out else model._run(flow, step, loop, **how)

    found = []
    for piece in rows.split(batch):
        out = model.finish(model.depth(model.start(Batch(piece)), run))
        found.append(next_nats(out.logits, piece).mean(1))
    return torch.cat(found).cpu().numpy()
