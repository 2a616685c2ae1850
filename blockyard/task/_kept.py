"""What a saved forecaster keeps beside it: its columns, their scales, and by how much it missed on what it never saw.

Quantiles are what the model says of a level (of one that says none: its forecast) with the quantile of its errors
added, by column and step ahead, over the windows of the tuning stretch:

    f_q + e_(k)        e_(1) <= .. <= e_(n)  errors y - f_q        k = ceil(q (n + 1)) from the median up, floor below

so that a number of a like stretch lies below with chance q; how often those of the test did is kept too.

Source   arXiv 1905.03222 (conformalised quantile regression)
Differs  each level by itself; windows overlap, and where rates are tried they chose the rate: the chance is not exact
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from blockyard.core.document import Document
from blockyard.core.errors import UsageError
from blockyard.core.files import is_missing, read_document, sealed
from blockyard.data.steps import Step
from blockyard.task._material import Exam, Predict
from blockyard.task._scaled import Series
from blockyard.task._series import last_value, seasonal

NAME, FORMAT = "series.json", 1
LEVELS = (0.025, 0.1, 0.5, 0.9, 0.975)  # of a model that says one number: its 80% and its 95%
MOST, PIECE = 2000, 64  # windows that errors are read from, and looked at together
Numbers = list[list[list[float | None]]]


@dataclass(frozen=True)
class Kept(Document):
    """What is needed to forecast with a saved model, and what is known of how well it does.

    names     the columns, the first `asked` to be forecast, the last `early` known in advance
    column    the column that names the series, None: there was one        series   by name, offset and scale of columns
    seconds, months, weekdays    from row to row; None: the table did not say when
    added     [column][step][level] what calibrates its quantiles, on scaled columns, from so many `windows`
    below     by level the share of the numbers of the test that lay below        errors   there, mean absolute, scaled
    """

    names: list[str]
    asked: int
    early: int
    column: str | None
    length: int
    horizon: int
    season: int
    seconds: float | None
    months: int
    weekdays: bool
    series: dict[str, list[list[float]]]
    levels: list[float]
    quantiles: bool
    windows: int
    added: Numbers
    below: list[float | None]
    errors: dict[str, float | None] = field(default_factory=dict)

    @property
    def step(self) -> Step | None:
        """From row to row, where the table said when."""
        return None if self.seconds is None else Step(self.seconds, self.months, self.weekdays)

    def calibrated(self, said: np.ndarray) -> np.ndarray:
        """(n,H,K,Q) quantiles, none above a higher one, from what the model says (n,H,K,Q), on scaled columns."""
        return _calibrated(said, np.array(self.added, np.float64).transpose(1, 0, 2))

    def to_bytes(self) -> bytes:
        """The content of the file."""
        return sealed({"format": FORMAT, **self.to_json()})

    @staticmethod
    def of(series: Series, column: str | None, season: int, step: Step | None, exams: Sequence[Exam], predict: Predict,
           levels: tuple[float, ...]) -> "Kept":  # fmt: skip
        """What to keep of a model; `exams` are its tuning windows and those of the test, `levels` those it says."""
        asked, told = levels or LEVELS, bool(levels)
        (tuned, tune_truth, _), (tested, truth, last) = (_said(predict, exam, asked, told) for exam in exams)
        added = conformal(tune_truth[..., None] - tuned, asked)
        quantiles = _calibrated(tested, added)
        held = np.isfinite(truth)
        below = [float((truth < quantiles[..., i])[held].mean()) if held.any() else None for i in range(len(asked))]
        middle = tested[..., int(np.argmin([abs(level - 0.5) for level in asked]))]
        guesses = {"model": middle} | {name: say(last) for name, say in naive(series, season).items()}
        errors = {name: float(np.nanmean(abs(truth - each))) if held.any() else None for name, each in guesses.items()}
        return Kept(
            list(series.names), series.asked, series.early, column, series.length, series.horizon, season,
            None if step is None else step.seconds, step.months if step else 0, bool(step and step.weekdays),
            {span.name: [span.offset.tolist(), span.scale.tolist()] for span in series.spans},
            list(asked), told, len(tuned), _plain(added.transpose(1, 0, 2)), below, errors,
        )  # fmt: skip

    @staticmethod
    def read(folder: Path) -> "Kept":
        """What stands beside the model of a folder; UsageError where it is no forecaster."""
        path = folder / NAME
        if is_missing(path):
            raise UsageError(
                f"{folder} has no {NAME}: it was not trained on the task forecast, or is such a model's copy"
            )
        return Kept.from_json(read_document(path, FORMAT, sealed_since=1), path)


def naive(series: Any, season: int) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """The last value and, where a window holds one, the last season, of what has length, horizon and asked."""
    found = {"last value": last_value(series.horizon, series.asked)}
    if 1 < season <= series.length:
        found[f"last season ({season})"] = seasonal(series.horizon, series.asked, season)
    return found


def conformal(errors: np.ndarray, levels: Sequence[float]) -> np.ndarray:
    """(H,K,Q) the quantile at each level of the errors (n,H,K,Q) of it, as the head says; errors not known are NaN."""
    ordered, count = np.sort(errors, 0), np.isfinite(errors).sum(0)
    found = np.full(errors.shape[1:], np.nan)
    for i, level in enumerate(levels):
        exact = level * (count[..., i] + 1)
        rank = np.ceil(exact - 1e-9) if level >= 0.5 else np.floor(exact + 1e-9)
        place = np.clip(rank, 1, np.maximum(count[..., i], 1)).astype(np.int64) - 1
        found[..., i] = np.take_along_axis(ordered[..., i], place[None], 0)[0]
    return found


def outer(levels: Sequence[float]) -> list[tuple[int, int]]:
    """Pairs of levels around a middle, the widest first: places of the lower and of the upper ones."""
    count = len(levels)
    return [(i, count - 1 - i) for i in range(count // 2) if abs(levels[i] + levels[count - 1 - i] - 1) < 1e-6]


def _calibrated(said: np.ndarray, added: np.ndarray) -> np.ndarray:
    found = said + added
    return np.sort(found, -1)  # what crosses is put in order; no level's loss grows with that in sum


def _said(
    predict: Predict, exam: Exam, levels: Sequence[float], told: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(n,H,K,Q) what the model says at each level, (n,H,K) what came, (n,L,C) what was seen, of some windows."""
    index = np.unique(np.linspace(0, len(exam) - 1, min(MOST, len(exam))).astype(np.int64))
    rows = [exam.take(index[at : at + PIECE]) for at in range(0, len(index), PIECE)]
    found = [predict(each) for each in rows]
    said = [each["quantiles"] if told else np.repeat(each["forecast"][..., None], len(levels), -1) for each in found]
    truth, seen = (np.concatenate([each[name] for each in rows]) for name in ("targets", "tokens"))
    return np.concatenate(said).astype(np.float64), truth.astype(np.float64), seen


def _plain(added: np.ndarray) -> Numbers:
    """Numbers as JSON has them, to six digits."""
    return [[[float(f"{x:.6g}") if np.isfinite(x) else None for x in row] for row in rows] for rows in added]
