"""A series cut into windows: rows that look back and ahead, made as they are asked for; and what needs no training."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from blockyard.data.rows import Arrays, Rows

PIECE = 2048  # windows looked at together
Forecaster = Callable[[np.ndarray], np.ndarray]  # (n,L,C) windows -> (n,H,K)


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows of a stretch of series, one a step, in order of time; copies are made of those that are taken.

    series    (N,C) float32 numbers without gaps        truth   (N,K) the numbers to forecast, NaN where not known
    begins    (n,) where each window begins
    length    steps back        horizon   steps ahead
    """

    series: np.ndarray
    truth: np.ndarray
    begins: np.ndarray
    length: int
    horizon: int

    def __len__(self) -> int:
        return len(self.begins)

    def take(self, index: Any) -> Arrays:
        """tokens (n,L,C), targets (n,H,K)."""
        first = self.begins[index]
        back, ahead = np.arange(self.length), self.length + np.arange(self.horizon)
        return {"tokens": self.series[first[:, None] + back], "targets": self.truth[first[:, None] + ahead]}

    def asked(self) -> np.ndarray:
        """(n,) how many numbers each window asks for."""
        known = np.concatenate([[0], np.isfinite(self.truth).sum(1).cumsum()])
        ahead = self.begins + self.length
        return known[ahead + self.horizon] - known[ahead]


def pieces(rows: Rows) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All windows, some at a time: tokens and targets."""
    for first in range(0, len(rows), PIECE):
        found = rows.take(slice(first, min(first + PIECE, len(rows))))
        yield found["tokens"], found["targets"]


def last_value(horizon: int, outputs: int) -> Forecaster:
    """What was last goes on."""
    return lambda x: np.repeat(x[:, -1:, :outputs], horizon, 1)


def seasonal(horizon: int, outputs: int, season: int) -> Forecaster:
    """The last season comes again, as far as the window reaches back."""

    def forecast(x: np.ndarray) -> np.ndarray:
        cycle = min(season, x.shape[1])
        return x[:, x.shape[1] - cycle + np.arange(horizon) % cycle, :outputs]

    return forecast


def ridge(train: Windows, outputs: int, strength: float = 1.0) -> Forecaster:
    """One matrix for all variables, in closed form, from a window to what follows, both counted from its last value.

        W = argmin |Z W - Y|^2 + s |W|^2        s = strength * mean square of Z

    Windows with a step that is not known teach nothing.
    """
    return ridges(train, outputs, [strength])[0]


def ridges(train: Windows, outputs: int, strengths: Sequence[float]) -> list[Forecaster]:
    """A ridge regression of each strength, from one pass over the windows."""
    length = train.length
    squares, products = np.zeros((length, length)), np.zeros((length, train.horizon))
    for back, ahead in pieces(train):
        x, y = _apart(back[..., :outputs]), _apart(ahead)
        z, y = x - x[:, -1:], y - x[:, -1:]
        known = np.isfinite(y).all(1)
        squares += z[known].T @ z[known]
        products += z[known].T @ y[known]
    held = max(np.trace(squares) / length / max(1, len(train) * outputs), 1e-12) * np.eye(length)

    def forecast(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        z = _apart(x[..., :outputs])
        y = (z - z[:, -1:]) @ weight + z[:, -1:]
        return y.reshape(len(x), outputs, -1).transpose(0, 2, 1)

    weights = [np.linalg.solve(squares + strength * held, products) for strength in strengths]
    return [partial(forecast, weight=weight) for weight in weights]


def _apart(x: np.ndarray) -> np.ndarray:
    """(n,L,K) -> (nK,L), in double precision."""
    return x.transpose(0, 2, 1).reshape(-1, x.shape[1]).astype(np.float64)


def filled(series: np.ndarray) -> np.ndarray:
    """(N,C) with every gap filled by the number before it, or by 0 where there is none: the mean of a scaled series."""
    place = np.where(np.isfinite(series), np.arange(len(series))[:, None], -1)
    last = np.maximum.accumulate(place, 0)
    return np.where(last >= 0, np.take_along_axis(series, last.clip(min=0), 0), 0.0)


def rhythm(series: np.ndarray, most: int) -> int:
    """The season of a series (N,C) without gaps: the lag up to `most` at which its steps repeat best; 1: none does.

    The autocorrelation of differences, the mean over variables, beyond the first lag at which it is not positive.
    """
    steps = np.diff(series, axis=0)
    steps = steps - steps.mean(0)
    size = 1 << (2 * len(steps) - 1).bit_length()
    power = np.abs(np.fft.rfft(steps, size, axis=0)) ** 2
    found = np.fft.irfft(power, size, axis=0)[: most + 1]
    found = (found / np.maximum(found[:1], 1e-12)).mean(1)
    falls = np.flatnonzero(found <= 0)
    if not len(falls) or falls[0] + 1 >= len(found):
        return 1
    begin = int(falls[0])
    best = begin + int(found[begin:].argmax())
    return best if found[best] > 0.2 else 1
