"""Times in the ways that tables write them; each reads cells, or says by None that they are something else.

    2016-07-01 00:00:00     years first, with a T, slashes, a zone or parts of seconds as well
    1.7.2016, 7/1/2016      days or months first: months where both can be meant and no dots stand between
    1 Jul 2016              months as English words, also 1-Jul-2016 and July 1, 2016
    2016-07, 20160701       months, and days in eight figures

Empty cells are not a time. What has a zone is told in UTC.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import numpy as np

MISSING = frozenset({"", "na", "n/a", "#n/a", "<na>", "nan", "null", "none", "?", "-"})  # but of words only ""
MONTHS = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip
SAMPLE = 50  # cells that a way of writing times is told by
YEARS = range(1800, 2200)  # of eight figures that are a day
_TIME = re.compile(
    r"(\d{1,4})([-/.])(\d{1,2})\2(\d{1,4})(?:[T ]+(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,6})\d*)?)?)?"
    r"\s*(Z|[+-]\d{2}:?\d{2})?"
)
_HOURS = r"(?: +(?P<hour>\d{1,2}):(?P<rest>\d{2}(?::\d{2})?))?"
_DAY_FIRST = re.compile(rf"(?P<day>\d{{1,2}})[- ](?P<word>[A-Za-z]{{3,9}})\.?[- ](?P<year>\d{{4}}){_HOURS}")
_WORD_FIRST = re.compile(rf"(?P<word>[A-Za-z]{{3,9}})\.? (?P<day>\d{{1,2}}), ?(?P<year>\d{{4}}){_HOURS}")

Way = Callable[[Sequence[str]], np.ndarray | None]


def compact_days(cells: Sequence[str]) -> np.ndarray | None:
    """Days in eight figures, 20160701; None where one of them is no day, so that they are numbers."""

    def read(cell: str) -> datetime:
        if len(cell) != 8 or not (cell.isascii() and cell.isdigit()) or int(cell[:4]) not in YEARS:
            raise ValueError
        return datetime(int(cell[:4]), int(cell[4:6]), int(cell[6:]))

    return _each(cells, read) if any(len(cell.strip()) == 8 for cell in cells) else None


def whole_months(cells: Sequence[str]) -> np.ndarray | None:
    """Months of years, 2016-07, as their first days."""
    return _each(cells, lambda cell: datetime.strptime(cell, "%Y-%m"))


def named_months(cells: Sequence[str]) -> np.ndarray | None:
    """Times whose month is an English word, in full or the first three letters of it."""

    def read(cell: str) -> datetime:
        found = _DAY_FIRST.fullmatch(cell) or _WORD_FIRST.fullmatch(cell)
        if found is None:
            raise ValueError
        word = found["word"].lower()
        month = next((i for i, name in enumerate(MONTHS, 1) if word in (name, name[:3], name[:4] * (i == 9))), 0)
        minute, _, second = (found["rest"] or "0").partition(":")
        return datetime(
            int(found["year"]), month, int(found["day"]), int(found["hour"] or 0), int(minute), int(second or 0)
        )

    return _each(cells, read)


def _in_order(order: str, mark: str) -> Way:
    """Times whose day (D), month (M) and year (Y) stand in this order, between marks of these."""

    def read(cell: str) -> datetime:
        match = _TIME.fullmatch(cell)
        if match is None or match[2] not in mark:
            raise ValueError
        part = dict(zip(order, (match[1], match[3], match[4])))
        if len(part["Y"]) != 4:
            raise ValueError
        return _moment(part, match)

    return lambda cells: _each(cells, read)


def _moment(part: Mapping[str, str], match: re.Match[str]) -> datetime:
    hour, minute, second = (int(match[i] or 0) for i in (5, 6, 7))
    fraction = int((match[8] or "0").ljust(6, "0"))
    when = datetime(int(part["Y"]), int(part["M"]), int(part["D"]), hour, minute, second, fraction)
    if match[9] is None or match[9] == "Z":
        return when
    return datetime.fromisoformat(f"{when.isoformat()}{match[9]}").astimezone(UTC).replace(tzinfo=None)


def _each(cells: Sequence[str], read: Callable[[str], datetime]) -> np.ndarray | None:
    """Times of cells, none where one is empty; None where `read` cannot read one."""
    found = np.full(len(cells), "NaT", "M8[us]")
    for i, cell in enumerate(cells):
        if (cell := cell.strip()).lower() in MISSING:
            continue
        try:
            found[i] = read(cell)
        except (ValueError, OverflowError):
            return None
    return found


WAYS = (
    *(_in_order(order, mark) for order, mark in (("YMD", "-/."), ("DMY", "."), ("MDY", "/-"), ("DMY", "/-"))),
    named_months, whole_months,
)  # fmt: skip


def times(cells: Sequence[str]) -> np.ndarray | None:
    """Times in the first way that reads all of these cells; None where none does."""
    return next((found for way in (compact_days, *WAYS) if (found := way(cells)) is not None), None)


def odd_time(cells: Sequence[str | None]) -> int | None:
    """The place of the first cell that is no time, where more than half are times in one way of writing them."""
    there = [(i, cell) for i, cell in enumerate(cells) if cell is not None and cell.strip().lower() not in MISSING]
    first = there[:SAMPLE]
    for way in (compact_days, *WAYS):
        if 2 * sum(way([cell]) is not None for _, cell in first) > len(first):
            return next((i for i, cell in there if way([cell]) is None), None)
    return None


def either(cells: Sequence[str]) -> bool:
    """Whether days and months of these cells can be taken for one another, and mean other times then."""
    months, days = (_in_order(order, "/-")(cells) for order in ("MDY", "DMY"))
    return months is not None and days is not None and not np.array_equal(months, days, equal_nan=True)
