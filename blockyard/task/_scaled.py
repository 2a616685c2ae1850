"""Series of a table side by side and one after another, scaled, with the windows of each stretch of time.

    z = (x - offset) / scale        mean and deviation of each column of each series, over the stretch that trains

What is known in advance is shown a horizon early: a window that ends at t shows of such a column the steps up to t + H.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from blockyard.task._series import Windows, filled
from blockyard.task._strands import Strand


@dataclass(frozen=True, eq=False)
class Span:
    """One series among those that stand one after another.

    begin   its first row        ends   rows at which its training, tuning and test end
    place   steps from the first time of all series to its first        offset, scale   (C,) of its columns
    """

    name: str
    begin: int
    ends: tuple[int, int, int]
    place: int
    offset: np.ndarray
    scale: np.ndarray


@dataclass(frozen=True, eq=False)
class Series:
    """Columns side by side, those to forecast first and those that are known in advance last.

    filled   (N,C) without gaps: what windows show        truth   (N,K) with gaps: what is asked
    early    how many columns are known in advance
    """

    names: Sequence[str]
    filled: np.ndarray
    truth: np.ndarray
    spans: tuple[Span, ...]
    length: int
    horizon: int
    early: int = 0

    @staticmethod
    def of(
        names: Sequence[str], found: Sequence[tuple[Strand, tuple[int, int, int], int]], asked: int, length: int,
        horizon: int, early: int = 0,
    ) -> "Series":  # fmt: skip
        """Of columns of these names: series, where each ends to train, to tune and to test, and their places.

        asked   how many columns are to be forecast, the first ones
        """
        spans, shown, truth, begin = list[Span](), [], [], 0
        for strand, ends, place in found:
            offset, scale = scaling(strand.values[: ends[0]])
            scaled = ((strand.values - offset) / scale).astype(np.float32)
            truth.append(scaled[:, :asked])
            shown.append(seen(scaled, horizon, early))
            first, second, third = (begin + end for end in ends)
            spans.append(Span(strand.name, begin, (first, second, third), place, offset, scale))
            begin += len(strand)
        return Series(names, np.concatenate(shown), np.concatenate(truth), tuple(spans), length, horizon, early)

    def windows(self, part: int) -> Windows:
        """The windows of a stretch: 0 to train, 1 to tune, 2 to test. The last two look back across their border."""
        return Windows(self.filled, self.truth, self._begins(part)[0], self.length, self.horizon)

    def groups(self, part: int, most: int) -> int:
        """Into how many groups of neighbours the windows of a stretch fall, none of which is shorter than a horizon."""
        when = self._begins(part)[1]
        for groups in range(min(most, (int(when[-1] - when[0]) + 1) // self.horizon), 1, -1):
            edges = when[-(-np.arange(groups) * len(when) // groups)]
            if np.diff(edges).min() >= self.horizon:
                return groups
        return 1

    def _begins(self, part: int) -> tuple[np.ndarray, np.ndarray]:
        """(n,) the rows at which windows of a stretch begin, and their places in time, which rise."""
        begins, when = [], []
        for span in self.spans:
            first = span.begin if part == 0 else max(span.begin, span.ends[part - 1] - self.length)
            mine = np.arange(first, span.ends[part] - self.length - self.horizon + 1)
            begins.append(mine)
            when.append(mine - span.begin + span.place)
        rows, places = np.concatenate(begins), np.concatenate(when)
        order = np.argsort(places, kind="stable")
        return rows[order], places[order]

    @property
    def asked(self) -> int:
        """How many columns are to be forecast."""
        return self.truth.shape[1]

    @property
    def ends(self) -> tuple[int, int, int]:
        """How many rows of all series come before the ends of training, of tuning and of the test."""
        first, second, third = (sum(span.ends[i] - span.begin for span in self.spans) for i in range(3))
        return first, second, third

    @property
    def offset(self) -> np.ndarray:
        """(C,) what was taken from the columns; nothing where each series has its own, so that figures stay scaled."""
        return self.spans[0].offset if len(self.spans) == 1 else np.zeros(len(self.names))

    @property
    def scale(self) -> np.ndarray:
        """(C,) what the columns were divided by; 1 where each series has its own."""
        return self.spans[0].scale if len(self.spans) == 1 else np.ones(len(self.names))

    def trained(self) -> np.ndarray:
        """(n,K) the numbers of all stretches that train, with gaps."""
        return np.concatenate([self.truth[span.begin : span.ends[0]] for span in self.spans])

    def changes(self, season: int) -> np.ndarray:
        """(n,K) by how much they change in a season, or in a step where a stretch does not hold two seasons."""
        found = []
        for span in self.spans:
            mine = self.truth[span.begin : span.ends[0]]
            cycle = season if season < len(mine) // 2 else 1
            found.append(abs(mine[cycle:] - mine[:-cycle]))
        return np.concatenate(found)


def scaling(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(C,) mean and deviation of columns (n,C); 1 for a column that never changes, 0 and 1 for one without a number."""
    count = np.isfinite(values).sum(0)
    held = count > 0
    offset, scale = np.zeros(values.shape[1]), np.ones(values.shape[1])
    offset[held], spread = np.nanmean(values[:, held], 0), np.nanstd(values[:, held], 0)
    scale[held] = np.where(spread > 1e-12 * np.maximum(1, abs(offset[held])), spread, 1.0)
    return offset, scale


def seen(scaled: np.ndarray, horizon: int, early: int) -> np.ndarray:
    """(n,C) float32 without gaps: columns as windows show them, the last `early` of them a horizon early."""
    if early:
        ahead = np.full((len(scaled), early), np.nan, scaled.dtype)
        ahead[:-horizon] = scaled[horizon:, -early:]
        scaled = np.concatenate([scaled[:, :-early], ahead], 1)
    return filled(scaled).astype(np.float32)
