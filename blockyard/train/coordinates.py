"""The coordinate check: do the numbers inside a model move as far in a wide one as in a narrow one?

    moved_l(width) = mean over tokens and channels of |h_l after some steps - h_l before|
    slope_l = of log moved_l against log width, by least squares

h_l is the stream behind step l, `out` are the head's scores. Under a parametrisation that carries rates over from one
width to others no slope of the stream is far from 0; where they rise a wide model needs a smaller rate, where they fall
it learns nothing inside. Scores may move less in a wide model, never more.

    found = coordinates(lambda width: by.spec("mup", "tiny", dim=width))
    found.slopes["steps.3"]
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from blockyard.core import registry
from blockyard.core.errors import UsageError
from blockyard.core.spec import Spec
from blockyard.model.model import Model, build
from blockyard.train.loop import build_objective

FLAT = 0.1  # no slope of a model whose rates carry over is further from 0


@dataclass(frozen=True)
class Coordinates:
    """How far the numbers of each place moved, by width, in the mean over seeds; and how that grows with the width."""

    widths: tuple[int, ...]
    moved: dict[str, list[float]]

    def carries(self, place: str) -> bool:
        """Whether what moves there lets a rate carry over: the stream as far at every width, scores no further."""
        slope = self.slopes[place]
        return slope <= FLAT and (place == "out" or slope >= -FLAT)

    @property
    def slopes(self) -> dict[str, float]:
        """Of each place: the power of the width that its numbers move by."""
        x = np.log(self.widths)
        return {place: float(np.polyfit(x, np.log(values), 1)[0]) for place, values in self.moved.items()}


def coordinates(
    system_of: Callable[[int], Spec], *, optimiser: Spec | None = None, widths: Sequence[int] = (32, 64, 128, 256),
    steps: int = 5, lr: float = 1e-2, seeds: int = 2,
) -> Coordinates:  # fmt: skip
    """What the steps of an optimiser do to a system at several widths, on the same few rows.

    system_of   the system of a width                     optimiser   none: the system's own, else AdamW
    lr          the rate of every step, at each width                            steps       optimiser's steps
    """
    if len(set(widths)) < 2:
        raise UsageError("a slope needs at least two widths")
    moved: dict[str, list[float]] = {}
    for width in widths:
        system = system_of(width)
        own = optimiser or system.get("optimiser") or Spec("optimiser", "adamw")
        found = [_moved(system, own, steps, lr, seed) for seed in range(seeds)]
        for place in found[0]:
            moved.setdefault(place, []).append(sum(each[place] for each in found) / seeds)
    return Coordinates(tuple(widths), moved)


def _moved(system: Spec, optimiser: Spec, steps: int, lr: float, seed: int) -> dict[str, float]:
    """How far every place of one model moves."""
    model = build(system["model"], seed)
    objective = build_objective(system["program"][0]["objective"], model, seed)
    batch = objective.example(model, 8, 32, torch.Generator().manual_seed(seed))
    params = {**dict(model.named_parameters()), **{f"objective.{n}": p for n, p in objective.named_parameters()}}
    rule = registry.find("optimiser", optimiser.name).load_named()(
        model, params, **dict(optimiser.settings), lr=lr, decay=0.0
    )
    for group in rule.param_groups:
        group["lr"] = lr * group.get("factor", 1.0)
    before = _places(model, batch)
    for _ in range(steps):
        rule.zero_grad(set_to_none=True)
        terms = objective(model, batch).values()
        torch.stack([weight * amount / count for amount, count, weight in terms]).sum().backward()
        rule.step()
    after = _places(model, batch)
    return {place: float((after[place] - value).abs().mean()) for place, value in before.items()}


@torch.no_grad()
def _places(model: Model, batch: Any) -> dict[str, Tensor]:
    """The stream behind every step, and the head's scores."""
    flow, found = model.start(batch), dict[str, Tensor]()
    for step in range(len(model.steps)):
        flow = model.run(flow, [step])
        found[f"steps.{step}"] = flow.x.double()
    found["out"] = next(iter(model.finish(flow).prediction.values())).double()
    return found
