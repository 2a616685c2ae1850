"""Forecasting as a comparison sees it: windows of a series, errors on its scaled columns, forecasts drawn."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from blockyard.core.random import fold
from blockyard.core.spec import head, norm, objective, stem
from blockyard.data.rows import RowOrder
from blockyard.data.steps import Step
from blockyard.data.table import Table
from blockyard.task._exhibit import Exhibit, Line
from blockyard.task._kept import NAME, Kept, naive
from blockyard.task._material import GROUPS, Ends, Exam, Material, Predict, Referred, exam
from blockyard.task._metric import Metric
from blockyard.task._scaled import Series
from blockyard.task._series import Forecaster, pieces, ridges

MSE = Metric("mse", "scaled squared error", "lower", 0.0)
ALSO = (
    Metric("mae", "scaled absolute error", "lower", 0.0),
    Metric("mase", "errors of a seasonal guess", "lower", 0.0),
)
FEWEST = 8  # groups that say anything of one another
LOOKED = 192  # windows that exhibits are made of
WINDOWS = 6_000  # to train on, where nobody says how many: five arms then take minutes on two cores
WIDTH, STRIDE, BODY = 32, 8, 25_000  # of the smallest stream that recipes share, and of what stands between its ends


class Forecasts(Material):
    """A table of which the next steps are asked.

    season   steps after which a pattern repeats        step   from row to row, where the table says when
    column   of the table, that names the series; None: there is one        levels   of the quantiles that are asked
    """

    metric, also = MSE, ALSO
    levels: tuple[float, ...] = ()

    def __init__(
        self, table: Table, task: str, series: Series, season: int, step: Step | None, notes: tuple[str, ...],
        column: str | None = None,
    ) -> None:  # fmt: skip
        self.name, self.series, self.season, self.step, self.column = table.name, series, season, step, column
        self.hash = hashlib.sha256(f"{table.hash} {task}".encode()).hexdigest()
        self.length, self.training = series.length, (MSE.unit, 1.0)
        self.counts = {name: len(series.windows(part)) for part, name in enumerate(("train", "tune", "test"))}
        read = WIDTH * (series.length // STRIDE + 1)  # numbers that a head maps to the horizon
        self.usual = {"tokens": WINDOWS * series.length, "params": round(read * series.horizon + BODY, -3)}
        told = dict(length=series.length, horizon=series.horizon, channels=len(series.names), outputs=series.asked)
        windows = stem("series_patches", scaling=norm("instance"))
        self.ends = Ends(
            "series", "forecast", "values", windows, head("steps_ahead"), objective("squared"), settings=told
        )
        changes = series.changes(season)
        self.unit = np.maximum(np.nanmean(np.where(np.isfinite(changes), changes, np.nan), 0), 1e-6)
        gaps = ~np.isfinite(series.truth)
        if gaps.any():
            said = f"{int(gaps.sum()):,} empty cells are filled by what stood before them, and none of them is scored"
            notes = (*notes, f"{table.name}: {said}")
        self.notes = notes

    @property
    def summary(self) -> str:
        series, names = self.series, self.series.names
        what = names[0] if series.asked == 1 else f"{series.asked} columns"
        beside = f" beside {len(names) - series.asked} others" if len(names) > series.asked else ""
        several = f" of {len(series.spans)} series" if len(series.spans) > 1 else ""
        sizes = ", ".join(f"{count:,} {name}" for name, count in (self.counts or {}).items())
        season = f"season {self.season}" if self.season > 1 else "no season"
        return (
            f"{self.name} (sha256 {self.hash[:12]}): {series.ends[2]:,} rows{several}, "
            f"{series.horizon} steps ahead of {what}{beside} from {series.length} back, {season}; windows: {sizes}"
        )

    @property
    def scored(self) -> dict[str, int]:
        return {role: len(self.series.windows(part)) * self.series.length for role, part in (("tune", 1), ("final", 2))}

    def order(self, length: int, batch: int, seed: int) -> RowOrder:
        return RowOrder(self.series.windows(0), batch, fold("order", seed))

    def exam(self, role: str, length: int) -> Exam:
        """Groups of neighbouring windows, none shorter than a horizon; one group where that leaves too few."""
        part = 1 if role == "tune" else 2
        windows, groups = self.series.windows(part), self.series.groups(part, GROUPS)
        return exam(windows, self.series.length, windows.asked(), groups=groups if groups >= FEWEST else 1)

    def amounts(self, said: Mapping[str, Any], batch: Any) -> Any:
        import torch

        values, targets = said["forecast"].double(), batch.targets.double()
        return torch.stack(
            spent(values, targets, torch.as_tensor(self.unit, dtype=torch.float64, device=values.device)), 1
        )

    def figures(self, sums: np.ndarray, asked: float) -> dict[str, float]:
        return {"mae": sums[1] / asked, "mase": sums[2] / asked}

    def references(self, role: str) -> dict[str, np.ndarray]:
        """The last value, the last season and a ridge regression."""
        return self.tuned_references(role, 1).figures

    def tuned_references(self, role: str, settings: int) -> Referred:
        """The ridge regression has the strength, of so many a factor of ten apart, that costs least where arms choose
        their rate."""
        began, grid = time.perf_counter(), [10.0 ** (i - (settings - 1) // 2) for i in range(settings)]
        fitted = ridges(self.series.windows(0), self.series.asked, grid)
        tune = self.exam("tune", self.series.length)
        costs = [self.costs(each, tune).sum() for each in fitted] if settings > 1 else [0.0]
        best = int(np.argmin(costs))
        took = time.perf_counter() - began
        known = self.forecasters(fitted[best])
        asked = self.exam(role, self.series.length)
        figures = self.blind(asked) | {name: asked.groups(self.costs(each, asked)) for name, each in known.items()}
        if settings == 1:
            return Referred(figures)
        fits = f"ridge {took:.1f} s, tuned over {settings} settings as every arm"
        told = f"references fitted on {len(self.series.windows(0)):,} windows: {fits}"
        return Referred(figures, (told,), {"ridge": f"strength={grid[best]:g}"})

    def forecasters(self, fitted: Forecaster | None = None) -> dict[str, Forecaster]:
        """What forecasts without training of ours, by name: the last value, the last season, a ridge regression."""
        usual = ridges(self.series.windows(0), self.series.asked, [1.0])[0] if fitted is None else fitted
        return naive(self.series, self.season) | {"ridge": usual}

    def costs(self, forecast: Forecaster, exam: Exam) -> np.ndarray:
        """(n,) what a forecaster loses on the windows of an exam, in the score that arms have."""
        return np.concatenate([spent(forecast(x), y.astype(np.float64), self.unit)[0] for x, y in pieces(exam.rows)])

    def blind(self, exam: Exam) -> dict[str, np.ndarray]:
        """The figures by group of what looks at no window, where such a thing is scored."""
        return {}

    def beside(self, predict: Predict) -> dict[str, bytes]:
        exams = [self.exam(role, self.series.length) for role in ("tune", "final")]
        kept = Kept.of(self.series, self.column, self.season, self.step, exams, predict, self.levels)
        return {NAME: kept.to_bytes()}

    def exhibits(self, predict: Predict, exam: Exam) -> list[Exhibit]:
        """Forecasts of the worst window and of two ordinary ones, and how the error grows with the steps ahead."""
        index = np.unique(np.linspace(0, len(exam) - 1, min(LOOKED, len(exam))).astype(np.int64))
        rows = [exam.take(index[at : at + 32]) for at in range(0, len(index), 32)]
        found = [predict(each) for each in rows]
        whole = {name: np.concatenate([each[name] for each in found]) for name in found[0]}
        said = whole["forecast"]
        back, truth = (np.concatenate([each[name] for each in rows]) for name in ("tokens", "targets"))
        error = np.square(said - truth)
        with np.errstate(invalid="ignore"):
            worth = np.nan_to_num(np.nanmean(error.reshape(len(error), -1), 1), nan=-1.0)
        order = np.argsort(worth)
        chosen = {
            "an ordinary window": order[len(order) // 2],
            "a hard window": order[int(0.9 * (len(order) - 1))],
            "the worst window": order[-1],
        }
        fans = [
            self._fan(title, back[at], truth[at], {name: each[at] for name, each in whole.items()})
            for title, at in chosen.items()
        ]
        plain = {name: forecast(back) for name, forecast in naive(self.series, self.season).items()}
        grown = [_by_step("error", error)]
        grown += [_by_step(name, np.square(each - truth)) for name, each in plain.items()]
        return [*fans, Exhibit("error by step", "steps ahead", MSE.unit, grown)]

    def _fan(self, title: str, back: np.ndarray, truth: np.ndarray, said: Mapping[str, np.ndarray]) -> Exhibit:
        """What was, what came and what was forecast, of the column that went worst, in its own units."""
        known = np.isfinite(truth).any()
        off = np.nanmean(np.square(said["forecast"] - truth), 0) if known else np.zeros(truth.shape[1])
        column = int(np.nan_to_num(off).argmax())
        horizon = self.series.horizon
        shown = back[-2 * horizon :, column]
        past, ahead = [float(i) for i in range(1 - len(shown), 1)], [float(i) for i in range(1, horizon + 1)]

        lines = [
            Line("what was", past, _points(self.plain(shown, column))),
            Line("what came", ahead, _points(self.plain(truth[:, column], column))),
            *self.fan(said, column, ahead),
        ]
        return Exhibit(
            f"{title} of {self.series.names[column]}" if self.series.asked == 1 else title,
            "steps ahead",
            self.series.names[column],
            lines,
        )

    def plain(self, values: np.ndarray, column: int) -> np.ndarray:
        """Scaled values of a column in its own units."""
        return values.astype(np.float64) * self.series.scale[column] + self.series.offset[column]

    def fan(self, said: Mapping[str, np.ndarray], column: int, ahead: Sequence[float]) -> list[Line]:
        """What is drawn of the predictions of a window, for a column."""
        return [Line("forecast", list(ahead), _points(self.plain(said["forecast"][:, column], column)))]


def _by_step(name: str, error: np.ndarray) -> Line:
    """The mean of errors (n,H,K) at every step ahead; a step that no window knows is a gap."""
    known = np.isfinite(error).sum((0, 2))
    means = np.nansum(error, (0, 2)) / np.where(known > 0, known, np.nan)
    return Line(name, [float(step) for step in range(1, error.shape[1] + 1)], _points(means))


def _points(values: np.ndarray) -> list[float | None]:
    """Values as a line has them: gaps are None."""
    return [float(value) if np.isfinite(value) else None for value in values]


def spent(values: Any, targets: Any, unit: Any) -> list[Any]:
    """What each window's forecast (n,H,K) costs, of arrays or of tensors: squared, absolute, in units of the guess."""
    off = values - targets
    off[targets != targets] = 0.0  # not asked
    far = abs(off)
    return [(off * off).sum((1, 2)), far.sum((1, 2)), (far / unit).sum((1, 2))]
