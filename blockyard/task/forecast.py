"""Forecast the next steps of every column of a table, or of one of them, from the steps before.

    mse = mean (y - forecast)^2 over all windows of the held-out stretch of time, one window a step, none left out

With levels, quantiles of them in place of one number, and the pinball loss in place of the square.

Columns are scaled to mean 0 and deviation 1 by the stretch that trains. The test lies after the tuning stretch, that
after training; windows of both look back across the border, and none that trains looks ahead across it.

Shapes   tokens (n,L,C): columns side by side, the targets first    targets (n,H,K), not a number where a cell is empty
Source   arXiv 2012.07436    Family  series
Differs  shares of time unless a split in months is asked for
"""

from typing import Annotated

import numpy as np

from blockyard.core.errors import UsageError, unknown
from blockyard.core.settings import Count, Word
from blockyard.data.table import Table
from blockyard.task._base import DataTask
from blockyard.task._forecasts import Forecasts, Series
from blockyard.task._quantiles import Quantiles, levels_of
from blockyard.task._series import rhythm

USUAL = 96  # steps back and ahead: four days of hours, the shortest input that published comparisons share
DAY = 86400.0
MONTH = 30 * DAY  # as the usual borders of the ETT series count it
SEASONS = ((DAY, 7), (7 * DAY, 52), (30.4 * DAY, 12), (91.3 * DAY, 4))  # of steps of about so many seconds


class Forecast(DataTask):
    of = ("table",)
    variants = ({}, dict(horizon=4, length=12), dict(horizon=4, length=12, levels="0.1+0.5+0.9"))

    def __init__(
        self, *, horizon: Annotated[Count, "steps to forecast; none: 96, or a 25th of a short table"] | None = None,
        length: Annotated[Count, "steps to look back; none: 96, or a tenth of a short table"] | None = None,
        target: Annotated[Word, "the column to forecast; none: all of them"] | None = None,
        split: Annotated[Word, "train:tune:test as shares of the time, or in months of 30 days, such as 12:4:4"]
        = "0.6:0.2:0.2",
        season: Annotated[Count, "steps after which a pattern repeats, 1: none does; none: found from the data"]
        | None = None,
        levels: Annotated[str | float, "quantiles to say, with + between them, as 0.1+0.5+0.9; none: one number a step"]
        | None = None,
    ) -> None:  # fmt: skip
        self.levels, self._levels = levels, levels_of(levels)
        self.horizon, self.length, self.target, self.split, self.season = horizon, length, target, split, season
        self._parts = _parts(split)

    def material(self, data: Table) -> Forecasts:
        names, notes = self._columns(data)
        values = np.stack([data.columns[name] for name in names], 1)
        step = _step(data, notes)
        ends = self._ends(data, step)
        known = np.asarray(np.isfinite(values[: ends[0]]).any(0))
        if not known.any() or (self.target and not known[0]):
            raise UsageError(f"{data.name}: the stretch that trains has no number in {names[0]}; name another target")
        if not known.all():
            notes.append(f"left out, without a number to train on: {_listed(names, ~known)}")
            names, values = [name for name, kept in zip(names, known) if kept], values[:, known]
        length = self.length or min(USUAL, max(2, len(data) // 10))
        horizon = self.horizon or min(USUAL, max(1, len(data) // 25))
        least = min(ends[0] - length, ends[1] - ends[0], ends[2] - ends[1])
        if least < horizon:
            stretch = ends[0], ends[1] - ends[0], ends[2] - ends[1]
            raise UsageError(
                f"{data.name}: {length} steps back and {horizon} ahead do not fit into {stretch[0]} rows to train on, "
                f"{stretch[1]} to tune and {stretch[2]} to test; ask for less: --task forecast:horizon=H,length=L"
            )
        asked = 1 if self.target else len(names)
        series = Series.of(names, values, asked, ends, length, horizon)
        season = self.season or _season(step) or rhythm(series.filled[: ends[0]], min(ends[0] // 3, 1000))
        task = repr(self).removesuffix(",levels=None")  # what was compared before there were levels is the same
        if self._levels:
            return Quantiles(data, task, series, season, step, tuple(notes), self._levels)
        return Forecasts(data, task, series, season, step, tuple(notes))

    def _columns(self, data: Table) -> tuple[list[str], list[str]]:
        """The columns of numbers, the target first, and what is to be said of the others."""
        found = list(data.numbers())
        left = [name for name in data.columns if name not in found and name != data.time]
        notes = [f"{data.name}: words are not forecast, left out: {', '.join(left[:8])}"] if left else []
        if not found:
            raise UsageError(f"{data.name} has no column of numbers to forecast")
        if self.target is None:
            return found, notes
        if self.target not in found:
            raise unknown(f"column of numbers in {data.name}", self.target, found)
        return [self.target, *(name for name in found if name != self.target)], notes

    def _ends(self, data: Table, step: float | None) -> tuple[int, int, int]:
        """The rows at which training, tuning and the test end."""
        parts, rows = self._parts, len(data)
        if max(parts) > 1:
            if step is None:
                raise UsageError(f"split={self.split} is in months, and {data.name} has no column of times")
            lengths = [round(part * MONTH / step) for part in parts]
        else:
            lengths = [round(part * rows) for part in parts]
        ends = np.cumsum(lengths)
        if ends[-1] > rows + 1:
            raise UsageError(f"split={self.split} asks for {ends[-1]:,} rows, and {data.name} has {rows:,}")
        return int(ends[0]), int(ends[1]), min(int(ends[2]), rows)


def _parts(split: str) -> list[float]:
    """The three numbers of a split."""
    try:
        parts = [float(part) for part in split.split(":")]
    except ValueError:
        parts = []
    if len(parts) != 3 or not all(0 < part < 1e6 for part in parts) or (max(parts) <= 1 and sum(parts) > 1.001):
        raise UsageError(
            f"split={split} must be three numbers: shares of the time such as 0.7:0.1:0.2, or months such as 12:4:4"
        )
    return parts


def _step(data: Table, notes: list[str]) -> float | None:
    """Seconds from row to row; None for a table that does not say when."""
    if data.time is None:
        return None
    steps = np.diff(data.columns[data.time]).astype("m8[us]").astype(np.float64) / 1e6
    usual = float(np.median(steps))
    if usual <= 0:
        raise UsageError(f"{data.name}: most rows have the time of the row before; give each series a table of its own")
    uneven = int((abs(steps - usual) > 0.1 * usual).sum())
    if uneven:
        said = f"{uneven:,} of {len(steps):,} rows do not follow the one before after {_span(usual)}"
        notes.append(f"{data.name}: {said}; rows are taken as they stand")
    return usual


def _season(step: float | None) -> int | None:
    """After how many steps a pattern should repeat: a day of what is counted by the hour, a week of days."""
    if step is None:
        return None
    if step < DAY / 2:
        return round(DAY / step)
    return next((season for seconds, season in SEASONS if abs(step / seconds - 1) < 0.1), None)


def _span(seconds: float) -> str:
    """A stretch of time in words."""
    for size, name in ((DAY, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = f"{seconds / size:.4g}"
            return f"{count} {name}{'s'[: count != '1']}"
    return f"{seconds:.4g} seconds"


def _listed(names: list[str], which: np.ndarray) -> str:
    return ", ".join([name for name, one in zip(names, which) if one][:8])
