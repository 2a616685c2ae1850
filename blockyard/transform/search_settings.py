"""Settings of parts are searched for, by the cross-entropy method: those with which the model loses least on some data.

    x_j ~ N(m, s^2), j = 1..n, cut to [low, high]        m', s': mean and deviation of the best share of them
    m <- m + 0.7 (m' - m)        s <- s + 0.7 (s' - s)        at first m = (low + high) / 2, s = (high - low) / 2

What was learned stays; what is searched are numbers that a spec says, such as the slope of a penalty by distance.

Source   arXiv 2410.18441    Slug  generative-math-modeling
Family   search
Differs  a reading: the paper searches for how to train; the best point that was met is taken, not the last mean
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from blockyard.core import registry
from blockyard.core.batch import Batch
from blockyard.core.errors import UsageError
from blockyard.core.settings import Count, Natural, Number, Share
from blockyard.model.model import Model
from blockyard.transform._base import Applied, Transform, batches
from blockyard.transform._refill import refilled

STEP = 0.7  # how far mean and deviation go towards those of the best


class SearchSettings(Transform):
    shown = True
    example = dict(settings=("position.base",), low=(100.0,), high=(20000.0,), rounds=2, samples=4)

    def __init__(
        self, *, settings: Annotated[tuple[str, ...], "what is searched for, each as kind.setting"],
        low: Annotated[tuple[Number, ...], "the least value of each"],
        high: Annotated[tuple[Number, ...], "the largest value of each"],
        rounds: Annotated[Count, "how often is drawn"] = 10, samples: Annotated[Count, "points a round"] = 20,
        best: Annotated[Share, "the part of them that mean and deviation follow"] = 0.2,
        seed: Annotated[Natural, "of the draws"] = 0,
    ) -> None:  # fmt: skip
        if not len(settings) == len(low) == len(high) or not all(a < b for a, b in zip(low, high)):
            raise UsageError(f"search_settings: low={low} and high={high} must be a range for each of {settings}")
        self.settings, self.low, self.high = settings, np.array(low), np.array(high)
        self.how: dict[str, Any] = dict(rounds=rounds, samples=samples, best=best, seed=seed)

    def plan(self, model: Model) -> dict[str, str]:
        self._with(model, (self.low + self.high) / 2)  # what cannot be is refused before anything is tried
        if model.head.says != "tokens":
            raise UsageError(
                "search_settings: a setting is scored by what a model says of tokens, and this one does not"
            )
        wanted, words = [name.rpartition(".") for name in self.settings], dict[str, str]()
        for part in model.parts():
            known = registry.find(part.spec.kind, part.spec.name).arguments
            found = [name for kind, _, name in wanted if kind.rpartition(".")[2] == part.spec.kind and name in known]
            if found:
                words[part.path] = f"searched for: {', '.join(found)}"
        return words

    @torch.no_grad()
    def apply(self, model: Model, data: Sequence[Batch] = ()) -> Applied:
        planned, data = self.plan(model), batches(data, "transform:search_settings")
        if next(model.parameters()).is_meta:  # an outline has no numbers to be scored by
            return Applied(self._with(model, (self.low + self.high) / 2), planned)
        before = nats(model, data)
        point, after = cross_entropy_method(
            lambda x: nats(self._with(model, x), data), self.low, self.high, **self.how
        )  # fmt: skip
        report = {"nats_before": before, "nats": after, "found": dict(zip(self.settings, map(_said, point)))}
        return Applied(self._with(model, point), planned, report=report)

    def _with(self, model: Model, point: np.ndarray) -> Model:
        """The model with these values of what is searched for."""
        spec = model.spec
        for name, value in zip(self.settings, point):
            spec = spec.override(name, _said(value))
        made, _, new = refilled(model, spec)
        if new:
            raise UsageError(
                f"search_settings: with another of {', '.join(self.settings)} {new[0]} were not what it is"
            )
        return made


def _said(value: float) -> float:
    """A value as a spec says it."""
    return float(f"{value:.6g}")


@torch.no_grad()
def nats(model: Model, data: Sequence[Batch]) -> float:
    """What a model loses a token on batches, of those that are asked for."""
    total, count = 0.0, 0
    for batch in data:
        logits, targets = model(batch).logits, batch.targets
        if targets is None:
            logits, targets = logits[:, :-1], batch.tokens[:, 1:]
        targets = targets.masked_fill(targets < 0, -100)
        total += float(cross_entropy(logits.double().flatten(0, 1), targets.flatten(), reduction="sum"))
        count += int((targets >= 0).sum())
    return total / max(1, count)


def cross_entropy_method(
    score: Callable[[np.ndarray], float], low: np.ndarray, high: np.ndarray, *, rounds: int, samples: int, best: float,
    seed: int = 0,
) -> tuple[np.ndarray, float]:  # fmt: skip
    """The point between `low` and `high` of the lowest score that was met, and that score."""
    draw, mean, spread = np.random.default_rng(seed), (low + high) / 2, (high - low) / 2
    kept = min(samples, max(2, round(best * samples)))
    found, least = mean, np.inf
    for _ in range(rounds):
        points = np.clip(mean + spread * draw.standard_normal((samples, len(mean))), low, high)
        scores = np.array([score(point) for point in points])
        order = np.argsort(np.where(np.isfinite(scores), scores, np.inf), kind="stable")
        if scores[order[0]] < least:
            found, least = points[order[0]], float(scores[order[0]])
        chosen = points[order[:kept]]
        mean = mean + STEP * (chosen.mean(0) - mean)
        spread = spread + STEP * (chosen.std(0) - spread)
    return found, least
