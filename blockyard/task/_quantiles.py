"""Forecasts that say quantiles: pinball losses, how often the truth lies below each, whether they cross.

    quantile loss            mean over numbers and levels q of max(q e, (q - 1) e), e = y - f_q, on scaled columns
    weighted quantile loss   2 sum of the same / sum |y|, both in the columns' own units
    off level                mean over levels of | share of numbers below f_q  -  q |
    off coverage             | share of numbers between the lowest and the highest quantile  -  what their levels ask |
    crossing                 share of neighbouring levels of which the higher one's quantile is the lower

Twice the quantile loss of the level 0.5 is the absolute error.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from blockyard.core import registry
from blockyard.core.errors import UsageError
from blockyard.core.spec import Spec, objective
from blockyard.data.steps import Step
from blockyard.data.table import Table
from blockyard.task._exhibit import Exhibit, Line
from blockyard.task._forecasts import ALSO, LOOKED, MSE, Forecasts, spent
from blockyard.task._material import Exam, Predict
from blockyard.task._metric import Metric
from blockyard.task._scaled import Series
from blockyard.task._series import Forecaster, Windows, pieces

LOSS = Metric("quantile loss", "scaled pinball loss", "lower", 0.0)
WEIGHTED = Metric("weighted quantile loss", "share of what came", "lower", 0.0)
OFF = Metric("off level", "share of numbers", "lower", 0.0, 1.0)
COVERAGE = Metric("off coverage", "share of numbers", "lower", 0.0, 1.0)
CROSSING = Metric("crossing", "share of neighbouring levels", "lower", 0.0, 1.0)
NUMBERS = 10_000_000  # errors that the quantiles of a reference are read from, at most


class Quantiles(Forecasts):
    """A table of which quantiles of the next steps are asked."""

    metric, also = LOSS, (WEIGHTED, MSE, *ALSO, OFF, COVERAGE, CROSSING)

    def __init__(
        self, table: Table, task: str, series: Series, season: int, step: Step | None, notes: tuple[str, ...],
        column: str | None, levels: tuple[float, ...],
    ) -> None:  # fmt: skip
        super().__init__(table, task, series, season, step, notes, column)
        self.levels, self.training = levels, (LOSS.unit, 1.0)
        if len(series.spans) > 1:  # each is scaled by its own, so that columns have no units in common
            self.also = tuple(metric for metric in self.also if metric != WEIGHTED)
        self.ends = replace(
            self.ends, learns="quantiles", objective=objective("quantile"),
            settings={**self.ends.settings, "levels": levels},
        )  # fmt: skip

    def fit(self, system: Spec) -> Spec:
        """The system with the ends that this asks for; refused: a head of its own that cannot say quantiles."""
        fitted = super().fit(system)
        head = fitted["model"]["head"]
        if "levels" not in registry.find("head", head.name).schema:
            raise UsageError(f"head:{head.name} has no setting `levels`, so it says no quantiles; leave levels out")
        return fitted

    def amounts(self, said: Mapping[str, Any], batch: Any) -> Any:
        """(n,7+Q) pinball; squared, absolute and by the guess, of the middle; twice the pinball and what came, in the
        columns' units; crossings; then numbers below each level."""
        import torch

        def like(values: Any) -> Any:
            return torch.as_tensor(values, dtype=torch.float64, device=targets.device)

        targets, quantiles = batch.targets.double(), said["quantiles"].double()
        point = spent(said["forecast"].double(), targets, like(self.unit))
        columns = slice(None, self.series.asked)
        scale, offset = like(self.series.scale[columns]), like(self.series.offset[columns])
        asked = targets == targets
        off = (targets[..., None] - quantiles).masked_fill(~asked[..., None], 0)
        level = like(self.levels)
        lost = torch.maximum(level * off, (level - 1) * off).mean(-1)
        came = (targets * scale + offset).abs().masked_fill(~asked, 0)
        below = ((off < 0) & asked[..., None]).double().sum((1, 2))
        crossed = ((quantiles.diff(dim=-1) < 0) & asked[..., None]).double().sum((1, 2, 3))
        first = [lost.sum((1, 2)), *point, 2 * (lost * scale).sum((1, 2)), came.sum((1, 2)), crossed]
        return torch.cat([torch.stack(first, 1), below], 1)

    def figures(self, sums: np.ndarray, asked: float) -> dict[str, float]:
        _, squared, absolute, guessed, weighted, came, crossed, *below = sums
        off = [abs(count / asked - level) for count, level in zip(below, self.levels)]
        covered = abs((below[-1] - below[0]) / asked - (self.levels[-1] - self.levels[0]))
        pairs = asked * max(1, len(self.levels) - 1)
        shares = {WEIGHTED.name: float(weighted / came) if came else float("nan")} if WEIGHTED in self.also else {}
        return shares | {
            MSE.name: float(squared / asked), "mae": float(absolute / asked), "mase": float(guessed / asked),
            OFF.name: float(np.mean(off)), COVERAGE.name: float(covered), CROSSING.name: float(crossed / pairs),
        }  # fmt: skip

    def costs(self, forecast: Forecaster, exam: Exam) -> np.ndarray:
        """What a forecaster loses with the quantiles of its errors where models train."""
        say = self._with_errors(forecast, _some(self.series))
        return np.concatenate([self._lost(say(x), y) for x, y in pieces(exam.rows)])

    def blind(self, exam: Exam) -> dict[str, np.ndarray]:
        """What was usual where models train, whatever stood before."""
        usual = np.nanquantile(self.series.trained(), self.levels, 0).T  # (K,Q)
        said = np.broadcast_to(usual, (1, self.series.horizon, *usual.shape))
        return {"what was usual": exam.groups(np.concatenate([self._lost(said, y) for _, y in pieces(exam.rows)]))}

    def _with_errors(self, forecast: Forecaster, train: list[tuple[np.ndarray, np.ndarray]]) -> Forecaster:
        """A forecast with the quantiles of what it missed by, for each step and column."""
        missed = np.concatenate([y - forecast(x) for x, y in train])
        added = np.nanquantile(missed, self.levels, 0).transpose(1, 2, 0)
        return lambda x: forecast(x)[..., None] + added

    def _lost(self, quantiles: np.ndarray, truth: np.ndarray) -> np.ndarray:
        """(n,) the pinball loss of each window."""
        level = np.array(self.levels)
        off = np.nan_to_num(truth.astype(np.float64)[..., None] - quantiles)
        return np.maximum(level * off, (level - 1) * off).mean(-1).sum((1, 2))

    def exhibits(self, predict: Predict, exam: Exam) -> list[Exhibit]:
        """As of all forecasts, with fans; and how often the truth lay below what was said of each level."""
        below, number = np.zeros(len(self.levels)), 0
        index = np.unique(np.linspace(0, len(exam) - 1, min(LOOKED, len(exam))).astype(np.int64))
        for at in range(0, len(index), 32):
            rows = exam.take(index[at : at + 32])
            truth = rows["targets"][..., None]
            below += (truth < predict(rows)["quantiles"]).sum((0, 1, 2))
            number += int(np.isfinite(truth).sum())
        levels = list(self.levels)
        found = [float(count) / max(1, number) for count in below]
        lines = [Line("model", levels, [*found]), Line("as asked", levels, [*levels])]
        return [*super().exhibits(predict, exam), Exhibit("share below each level", "level", "share below", lines)]

    def fan(self, said: Mapping[str, np.ndarray], column: int, ahead: Sequence[float]) -> list[Line]:
        """A band between the lowest and the highest level, the next ones within it, and so on; then the middle."""
        values = self.plain(said["quantiles"][:, column], column)  # (H,Q)
        bands = []
        for low in range(len(self.levels) // 2):
            high = len(self.levels) - 1 - low
            name = f"{self.levels[low]:g} to {self.levels[high]:g}"
            low_high = (np.sort(values[:, [low, high]], 1).T).tolist()
            bands.append(Line(name, list(ahead), [None] * len(ahead), *low_high))
        return [*bands, *super().fan(said, column, ahead)]


def _some(series: Series) -> list[tuple[np.ndarray, np.ndarray]]:
    """Windows that train, evenly spread, as many as the errors of a reference are read from."""
    windows: Windows = series.windows(0)
    count = max(1, min(len(windows), NUMBERS // (series.horizon * series.asked)))
    rows = windows.take(np.unique(np.linspace(0, len(windows) - 1, count).astype(np.int64)))
    return [(rows["tokens"], rows["targets"])]


def levels_of(text: str | float | None) -> tuple[float, ...]:
    """The levels of a text such as 0.1+0.5+0.9."""
    if text is None:
        return ()
    try:
        found = tuple(float(word) for word in str(text).split("+"))
    except ValueError:
        found = ()
    if not found or not all(0 < level < 1 for level in found) or any(a >= b for a, b in pairwise(found)):
        raise UsageError(f"levels={text} must be numbers between 0 and 1 that rise, such as 0.1+0.5+0.9")
    return found
