"""Which units of the last channel set how sure a model is, and do they do it through the scale of the last norm?

    w_i the column that unit i writes by, u_v the row of the head's table for token v
    PATH:norm        |w_i|
    PATH:variance    variance over v of cos(u_v, w_i)        small: it raises no token over another
    PATH:chosen      of the units with the largest norms, one in `among`, those of the least variance
    PATH:rise        how the entropy of what is said changes where a chosen unit says its mean over tokens, in nats
    PATH:frozen      the same with the scale of the last norm as it was; where `rise` goes with it, the unit acts by it
    PATH:drawn       `rise` of as many units drawn from all: what a unit does that nobody chose

The last channel is the last step with a hook point `hidden` and a matrix from it to the stream. Without a norm that
has the point `scale` before its table a head gets no `frozen`.

Source   arXiv 2504.02904, 2406.16254, 2401.12181    Slug  post-training-mechanisms
Family   probes
Differs  the table is taken as it is, without the gain of the norm before it
"""

from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from blockyard.core import Batch, UsageError
from blockyard.core.settings import Count, Natural
from blockyard.probe._read import Arrays, batch_of


@torch.no_grad()
def entropy_neurons_probe(
    model: Any, data: Any, *, top: Annotated[Count, "units that are chosen"] = 8,
    among: Annotated[Count, "one unit in so many has a large norm"] = 4,
    seed: Annotated[Natural, "of the units that are drawn"] = 0,
) -> Arrays:  # fmt: skip
    """Figures (I,) of every unit, and (top,) of the chosen ones, on rows (n,L) of ids."""
    path, written = last_units(model)
    table = getattr(model.head, "table", None)
    if not isinstance(table, Tensor) or not table.is_floating_point():
        raise UsageError("units are held against the rows of a head's table, and this head has none in full numbers")
    given = batch_of(model, data)
    norms, spread = written.norm(dim=0).double(), logit_variance(table.double(), written.double())
    chosen = picked(norms, spread, top, among)
    drawn = torch.from_numpy(np.random.default_rng(seed).permutation(len(norms))[: len(chosen)])
    freezes = ("head.norm", "scale") in {(part.path, name) for part in model.parts() for name in part.points}
    found = {"norm": norms, "variance": spread, "chosen": chosen, "rise": rises(model, given, path, chosen)}
    if freezes:
        found["frozen"] = rises(model, given, path, chosen, freeze=True)
    found["drawn"] = rises(model, given, path, drawn)
    return {f"{path}:{name}": value.cpu().numpy() for name, value in found.items()}


def last_units(model: Any) -> tuple[str, Tensor]:
    """The path of the last step with hidden units, and the matrix (D,I) by which they write to the stream."""
    for step in reversed(model.steps):
        part = step.part
        wide = model.axes.get(f"{part.path}.inner")
        uses = [use for use in model.uses if use.path.startswith(f"{part.path}.") and use.writes is part.stream]
        held = dict(model.named_parameters())
        for use in uses:
            if "hidden" in part.points and wide is not None and use.reads is wide and use.path in held:
                return part.path, held[use.path]
    raise UsageError("no step of this model has hidden units that one matrix writes to the stream")


def logit_variance(table: Tensor, written: Tensor) -> Tensor:
    """(I,) the variance over the rows of a table (V,D) of their cosines with the columns (D,I)."""
    tiny = torch.finfo(table.dtype).tiny
    rows = table / table.norm(dim=1, keepdim=True).clamp(min=tiny)
    return (rows @ (written / written.norm(dim=0).clamp(min=tiny))).var(0, correction=0)


def picked(norms: Tensor, spread: Tensor, top: int, among: int) -> Tensor:
    """The units of the least variance among those of large norms, in that order."""
    large = norms.argsort(descending=True)[: max(top, len(norms) // among)]
    return large[spread[large].argsort()][:top]


def overlap(one: Any, other: Any) -> float:
    """How many units two choices share, of all that either has."""
    a, b = ({int(unit) for unit in units} for units in (one, other))
    return len(a & b) / max(1, len(a | b))


def rises(model: Any, given: Batch, path: str, units: Tensor, freeze: bool = False) -> Tensor:
    """(k,) the change of the mean entropy where each unit says its mean; with the scale of the last norm as it was."""
    asked = {f"{path}:hidden": "read"} | ({"head.norm:scale": "read"} if freeze else {})
    out = model(given, points=asked)
    seen = {name: value for (_, _, _, name), value in out.captures.items()}
    mean, before, changes = seen["hidden"].flatten(0, -2).mean(0), _entropy(out.logits, given), []
    for unit in units.tolist():
        points: dict[str, Any] = {f"{path}:hidden": lambda h, unit=unit: h.index_fill(-1, _at(unit, h), mean[unit])}
        if freeze:
            points["head.norm:scale"] = lambda _: seen["scale"]
        changes.append(_entropy(model(given, points=points).logits, given) - before)
    return torch.stack(changes)


def _at(unit: int, like: Tensor) -> Tensor:
    return torch.tensor([unit], device=like.device)


def _entropy(logits: Tensor, given: Batch) -> Tensor:
    """() the mean over tokens that count of the entropy of what is said, in nats."""
    each = torch.special.entr(logits.double().softmax(-1)).sum(-1)
    return each.mean() if given.valid is None else each[given.valid].mean()
