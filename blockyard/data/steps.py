"""The step of a column of times: how far apart rows are, which are missing, which times come next.

seconds     the median of the differences
months      where all times stand at one place of their months: steps are so many months, 28 or 31 days long
weekdays    where rows are days and none is a Saturday or a Sunday: weekends are no gaps
"""

from dataclasses import dataclass

import numpy as np

DAY = 86400.0
WEEK = 10  # days without a weekend that say that there will be none
SLACK = 0.1  # of a step, by which a row may be early or late


@dataclass(frozen=True)
class Step:
    """From row to row: seconds as a rule, or whole months (0: not counted in months), or days without weekends."""

    seconds: float
    months: int = 0
    weekdays: bool = False

    @staticmethod
    def of(times: np.ndarray) -> "Step | None":
        """The step of rising times (n,) datetime64; None where most rows have the time of the row before."""
        usual = float(np.median(np.diff(times).astype("m8[us]").astype(np.float64))) / 1e6 if len(times) > 1 else 0.0
        if usual <= 0:
            return None
        if usual > 27 * DAY and (months := _months(times)):
            return Step(usual, months)
        days = times.astype("M8[D]")
        working = abs(usual - DAY) < 1 and len(times) >= WEEK and bool(np.is_busday(days).all())
        return Step(usual, weekdays=working)

    def places(self, times: np.ndarray) -> np.ndarray | None:
        """(n,) int64: how many steps after the first each of these times comes; None where some lie between steps."""
        if self.months:
            month = times.astype("M8[M]").astype(np.int64)
            return (month - month[0]) // self.months if not ((month - month[0]) % self.months).any() else None
        if self.weekdays:
            days = times.astype("M8[D]")
            return np.busday_count(days[0], days) if np.is_busday(days).all() else None
        passed = (times - times[0]).astype("m8[us]").astype(np.float64) / 1e6 / self.seconds
        places = np.rint(passed)
        return places.astype(np.int64) if (abs(passed - places) <= SLACK).all() else None

    def after(self, last: np.datetime64, count: int) -> np.ndarray:
        """(count,) the times that come after the last one."""
        ahead = np.arange(1, count + 1)
        if self.months:
            month = last.astype("M8[M]")
            inside, left = last - month.astype("M8[us]"), _left(np.array(last))
            months = month + ahead * self.months
            if left < np.timedelta64(1, "D"):  # the last days of months
                return (months + 1).astype("M8[us]") - left - np.timedelta64(1, "us")
            return months.astype("M8[us]") + inside
        if self.weekdays:
            day = last.astype("M8[D]")
            return np.busday_offset(day, ahead, roll="backward").astype("M8[us]") + (last - day.astype("M8[us]"))
        return last.astype("M8[us]") + (ahead * round(self.seconds * 1e6)).astype("m8[us]")

    def like(self, other: "Step") -> bool:
        """Whether rows of both are equally far apart, by and large: months differ in length."""
        return abs(self.seconds / other.seconds - 1) < SLACK

    def __str__(self) -> str:
        return "1 month" if self.months == 1 else f"{self.months} months" if self.months else span(self.seconds)


def span(seconds: float) -> str:
    """A stretch of time in words."""
    for size, name in ((DAY, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = f"{seconds / size:.4g}"
            return f"{count} {name}{'s'[: count != '1']}"
    return f"{seconds:.4g} seconds"


def _months(times: np.ndarray) -> int:
    """How many months from row to row, where all times stand at one place of theirs; 0: they do not."""
    month = times.astype("M8[M]")
    inside = times.astype("M8[us]") - month.astype("M8[us]")
    left = _left(times)
    if (inside != inside[0]).any() and not ((left == left[0]).all() and left[0] < np.timedelta64(1, "D")):
        return 0
    return int(np.median(np.diff(month).astype(np.int64)))


def _left(times: np.ndarray) -> np.ndarray:
    """What is left of the month at each time, its last microsecond not counted."""
    return (times.astype("M8[M]") + 1).astype("M8[us]") - times.astype("M8[us]") - np.timedelta64(1, "us")
