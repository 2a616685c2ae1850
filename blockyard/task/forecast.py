"""Forecast the next steps of every column of a table, or of one of them, from the steps before.

    mse = mean (y - forecast)^2 over all windows of the held-out stretch of time, one window a step, none left out

With levels, quantiles of them in place of one number, and the pinball loss in place of the square.

Columns are scaled to mean 0 and deviation 1 by the stretch that trains. The test lies after the tuning stretch, that
after training; windows of both look back across the border, and none that trains looks ahead across it. Each of several
series is scaled and split by itself; columns that are known in advance are shown a horizon early.

Shapes   tokens (n,L,C): columns side by side, the targets first    targets (n,H,K), not a number where a cell is empty
Source   arXiv 2012.07436    Family  series
Differs  shares of time unless a split in months is asked for
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import numpy as np

from blockyard.core.errors import UsageError, brief, unknown
from blockyard.core.settings import Count, Word
from blockyard.data.steps import DAY, Step
from blockyard.data.table import Table
from blockyard.task._base import DataTask
from blockyard.task._forecasts import Forecasts
from blockyard.task._quantiles import Quantiles, levels_of
from blockyard.task._scaled import Series
from blockyard.task._series import rhythm
from blockyard.task._strands import Strand, clock, refuse_odd, strands

USUAL = 96  # steps back and ahead: four days of hours, the shortest input that published comparisons share
MONTH = 30 * DAY  # as the usual borders of the ETT series count it
WORKING = 5  # days of a week without weekends
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
        series: Annotated[Word, "the column that names the series a row is of; none: the table is one series"]
        | None = None,
        known: Annotated[Word, "columns that are known in advance, with + between them; none: none is"] | None = None,
    ) -> None:  # fmt: skip
        self.levels, self._levels = levels, levels_of(levels)
        self.horizon, self.length, self.target, self.split, self.season = horizon, length, target, split, season
        self.series, self.known = series, known
        self._parts, self._early = _parts(split), [] if known is None else str(known).split("+")

    def material(self, data: Table) -> Forecasts:
        names, notes = self._columns(data)
        found, step = strands(data, names, self.series)
        rows = max(map(len, found))
        length = self.length or min(USUAL, max(2, rows // 10))
        horizon = self.horizon or min(USUAL, max(1, rows // 25))
        placed, notes = self._placed(data, found, step, length, horizon, notes)
        names, placed = self._seen(data, names, placed, notes)
        asked = 1 if self.target else len(names) - len(self._early)
        series = Series.of(names, placed, asked, length, horizon, len(self._early))
        if not np.ptp(series.truth[np.isfinite(series.truth)]):
            raise UsageError(f"{data.name}: {_listed(names[:asked])} never changes, so there is nothing to forecast")
        longest = max(series.spans, key=lambda span: span.ends[0] - span.begin)
        train = series.filled[longest.begin : longest.ends[0]]
        season = self.season or _season(step) or rhythm(train, min(len(train) // 3, 1000))
        task = repr(self)
        for later in (",known=None", ",series=None", ",levels=None"):  # what was compared before there was such a
            task = task.removesuffix(later)  # setting is the same
        task += " evenly" * any(strand.added for strand in found) + " weekdays" * bool(step and step.weekdays)
        made = data, task, series, season, step, (*data.notes, *notes, *_still(data, names, placed)), self.series
        return Quantiles(*made, self._levels) if self._levels else Forecasts(*made)

    def _columns(self, data: Table) -> tuple[list[str], list[str]]:
        """The columns of numbers, the target first and what is known in advance last; what is to be said of others."""
        found = [name for name in data.numbers() if name != self.series]
        when = clock(data)
        for name in data.columns:
            if name not in (self.series, when):
                refuse_odd(data, name)
        left = [name for name in data.columns if name not in (*found, when, self.series)]
        notes = [f"{data.name}: words are not forecast, left out: {', '.join(left[:8])}"] if left else []
        if not found:
            only = f", only {brief(repr(next(iter(data.columns))))}; commas, semicolons, tabs or bars part cells"
            raise UsageError(f"{data.name} has no column of numbers to forecast{only * (len(data.columns) == 1)}")
        for name in (*([] if self.target is None else [self.target]), *self._early):
            if name not in found:
                raise unknown(f"column of numbers in {data.name}", name, found)
        first = [] if self.target is None else [self.target]
        middle = [name for name in found if name not in (*first, *self._early)]
        if len({*first, *self._early}) < len(first) + len(self._early) or not (first or middle):
            raise UsageError(f"known={self.known} must leave a column to forecast, and name each column once")
        return [*first, *middle, *self._early], notes

    def _placed(
        self, data: Table, found: list[Strand], step: Step | None, length: int, horizon: int, notes: list[str]
    ) -> tuple[list[tuple[Strand, tuple[int, int, int], int]], list[str]]:
        """The series that are long enough, where each ends to train, tune and test, and its place in time."""
        ends = {strand.name: self._ends(data, len(strand), step) for strand in found}
        kept = [strand for strand in found if ends[strand.name][0] >= length + horizon]
        stretches = [(each[0], each[1] - each[0], each[2] - each[1]) for each in ends.values()]
        most = [max(lengths) for lengths in zip(*stretches)]
        if min(most[0] - length, *most[1:]) < horizon:
            whose = "" if len(found) == 1 else " of the longest series"
            raise UsageError(
                f"{data.name}: {length} steps back and {horizon} ahead do not fit into {most[0]} rows to train on, "
                f"{most[1]} to tune and {most[2]} to test{whose}; ask for less: --task forecast:horizon=H,length=L"
            )
        short = [strand.name for strand in found if strand not in kept]
        told = [*notes, *_told(data, found, step)]
        if short:
            told.append(f"{data.name}: {len(short)} of {len(found)} series are too short, left out: {_listed(short)}")
        first = min((strand.times[0] for strand in kept if strand.times is not None), default=None)
        placed = []
        for strand in kept:
            late = (
                0.0
                if strand.times is None or first is None
                else float((strand.times[0] - first) / np.timedelta64(1, "us"))
            )
            place = round(late / 1e6 / step.seconds) if step is not None else 0
            placed.append((strand, ends[strand.name], place))
        return placed, told

    def _seen(
        self, data: Table, names: list[str], placed: list[tuple[Strand, tuple[int, int, int], int]], notes: list[str]
    ) -> tuple[list[str], list[tuple[Strand, tuple[int, int, int], int]]]:
        """Names and series without the columns that no stretch that trains has a number of."""
        seen = np.any([np.isfinite(strand.values[: ends[0]]).any(0) for strand, ends, _ in placed], 0)
        must = [name for name in (self.target, *self._early) if name is not None]
        lost = [name for name, held in zip(names, seen) if not held]
        wrong = next((name for name in must if name in lost), names[0] if len(lost) == len(names) else None)
        if wrong is not None:
            raise UsageError(f"{data.name}: the stretch that trains has no number in {wrong}; name another target")
        if lost:
            notes.append(f"left out, without a number to train on: {_listed(lost)}")
            names = [name for name in names if name not in lost]
            placed = [(replace(strand, values=strand.values[:, seen]), ends, place) for strand, ends, place in placed]
        return names, placed

    def _ends(self, data: Table, rows: int, step: Step | None) -> tuple[int, int, int]:
        """The rows at which training, tuning and the test of so many rows end."""
        parts = self._parts
        if max(parts) > 1:
            if step is None:
                raise UsageError(f"split={self.split} is in months, and {data.name} has no column of times")
            lengths = [round(part * MONTH / step.seconds) for part in parts]
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


def _told(data: Table, found: list[Strand], step: Step | None) -> list[str]:
    """What is to be said of rows that are missing, and of those that do not follow after one step."""
    added, rows = sum(strand.added for strand in found), sum(map(len, found))
    uneven, notes = sum(strand.uneven for strand in found), []
    if added:
        notes.append(f"{data.name}: {added:,} of {rows:,} rows are missing, {step} apart; they are put in as empty")
    if uneven:
        said = f"{uneven:,} of {rows - len(found):,} rows do not follow the one before after {step}"
        notes.append(f"{data.name}: {said}; rows are taken as they stand")
    return notes


def _still(data: Table, names: list[str], placed: list[tuple[Strand, tuple[int, int, int], int]]) -> list[str]:
    """What is to be said of columns that are forecast and never change, or only ever rise as a clock does."""
    values = np.concatenate([strand.values for strand, *_ in placed])
    known = [column[np.isfinite(column)] for column in values.T]
    still = [name for name, column in zip(names, known) if len(column) and not np.ptp(column)]
    alone = data.time is None and len(placed) == 1
    clocks = [name for name, column in zip(names, known) if alone and _ticks(column)]
    notes = [f"{data.name}: the same in every row, and forecast all the same: {_listed(still)}"] if still else []
    if clocks:
        said = "as much more in every row, and forecast as numbers"
        notes.append(f"{data.name}: {said}: {_listed(clocks)}; times are written as 2024-01-31 12:00")
    return notes


def _ticks(column: np.ndarray) -> bool:
    """Whether every number is the one before and as much more."""
    return len(column) > 2 and column[1] > column[0] and not np.ptp(np.diff(column))


def _season(step: Step | None) -> int | None:
    """After how many steps a pattern should repeat: a day of what is counted by the hour, a week of days."""
    if step is None:
        return None
    if step.seconds < DAY / 2:
        return round(DAY / step.seconds)
    if step.weekdays:
        return WORKING
    return next((season for seconds, season in SEASONS if abs(step.seconds / seconds - 1) < 0.1), None)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(names[:8]) + more
