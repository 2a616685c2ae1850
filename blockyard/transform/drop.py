"""Take out the steps that change the stream least, all at once and without training after.

    score = mean over tokens of cos(x, y)        the steps of the highest scores go

x and y are the stream before and after a step, on data. What goes is mixers (attention), channels (MLPs), either of
them by one common order, or whole blocks by the stream before and after the block.

Source   arXiv 2406.15786    Slug  llm-drop
Family   pruners
Differs  x and y stand behind the residual rule; scores are means over all tokens shown
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch

from blockyard.core.batch import Batch
from blockyard.core.errors import UsageError
from blockyard.core.settings import Count
from blockyard.model.model import Model
from blockyard.probe.step_cosine import cosines
from blockyard.transform._base import Applied, Transform, batches
from blockyard.transform.cut import check_steps, spec_of, without


class Drop(Transform):
    shown = True

    def __init__(
        self,
        *,
        steps: Annotated[Count, "how many go"] = 1,
        of: Annotated[Literal["mixer", "channel", "either", "block"], "of what"] = "mixer",
    ) -> None:
        self.steps, self.of = steps, of

    def plan(self, model: Model) -> dict[str, str]:
        return {
            f"steps.{step}": f"one of {self.steps} {self.of}s to go" for unit in self._units(model) for step in unit
        }

    @torch.no_grad()
    def apply(self, model: Model, data: Sequence[Batch] = ()) -> Applied:
        units = self._units(model)
        scores = scores_of(model, batches(data, "transform:drop"), units)
        order = sorted(range(len(units)), key=lambda i: -scores[i])  # of equal ones the first goes first
        gone = [step for i in order[: self.steps] for step in units[i]]
        done = without(model, gone)
        told = {f"steps.{'+'.join(map(str, unit))}": score for unit, score in zip(units, scores)}
        return Applied(done.model, done.covered, done.left, {**done.report, "cosine": told}, lineage=done.lineage)

    def _units(self, model: Model) -> list[tuple[int, ...]]:
        """What can go together: steps of the kind, or the steps of a block."""
        kinds = ("mixer", "channel") if self.of == "either" else (self.of,)
        if self.of == "block":
            units = [tuple(steps) for steps in model.depth.blocks]
        else:
            units = [(step,) for step in range(len(model.steps)) if spec_of(model, step).kind in kinds]
        if len(units) < self.steps or self.steps * len(units[0]) >= len(model.steps):
            raise UsageError(f"{self.steps} of {len(units)} {self.of}s cannot go: fewer, or other steps, must stay")
        check_steps(model, [step for unit in units[: self.steps] for step in unit])
        return units


def scores_of(model: Model, data: Sequence[Batch], units: Sequence[tuple[int, ...]]) -> list[float]:
    """Of every unit of steps the mean cosine of the stream before and behind it, over all tokens of the data."""
    sums = dict.fromkeys(units, 0.0)
    counts = dict.fromkeys(units, 0.0)
    for batch in data:
        for unit, total, count in cosines(model, batch, units):
            if not total.is_meta:
                sums[unit] += float(total.sum())
                counts[unit] += float(count.sum())
    return [sums[unit] / max(counts[unit], 1.0) for unit in units]
