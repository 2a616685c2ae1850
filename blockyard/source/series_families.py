"""Twenty-four hourly series of six families, 720 steps each, one below the other, named by the column `series`.

    wave, two waves, square wave    of periods from 8 to 48         drift   a line and a wave
    lasting noise                   e_t = 0.95 e_(t-1) + noise      saw     a ramp of 12 to 36 steps, again and again

all with a tenth of their deviation as noise, at levels and scales of their own.

Source   none    Family  series
Differs  nothing known
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from blockyard.data.table import Table
from blockyard.source._base import Source

STEPS, EACH = 720, 4
NOISE = 0.1


class SeriesFamilies(Source):
    gives = "table"
    known = True

    def read(self, paths: Sequence[str], **how: Any) -> Table:
        draw = np.random.RandomState(0)  # whose stream never changes
        names, values = list[str](), list[np.ndarray]()
        for make in (_wave, _two_waves, _square, _drift, _lasting, _saw):
            for i in range(EACH):
                x = make(draw)
                x = (x - x.mean()) / x.std() + NOISE * draw.randn(STEPS)
                values.append(np.round(draw.uniform(0.5, 20) * x + draw.uniform(-50, 50), 6))
                names += [f"{make.__name__[1:].replace('_', ' ')} {i + 1}"] * STEPS
        when = np.datetime64("2020-01-01T00", "us") + np.arange(STEPS) * np.timedelta64(3600, "s")
        columns = {"hour": np.tile(when, len(values)), "series": np.array(names, object), "x": np.concatenate(values)}
        return Table.of("series_families", columns)


def _turn(draw: Any, low: float = 8, high: float = 48) -> np.ndarray:
    """(N,) the phase of a wave of some period."""
    return 2 * np.pi * (np.arange(STEPS) / draw.uniform(low, high) + draw.uniform())


def _wave(draw: Any) -> np.ndarray:
    return np.sin(_turn(draw))


def _two_waves(draw: Any) -> np.ndarray:
    return np.sin(_turn(draw)) + draw.uniform(0.3, 1) * np.sin(_turn(draw))


def _square(draw: Any) -> np.ndarray:
    return np.sign(np.sin(_turn(draw)))


def _drift(draw: Any) -> np.ndarray:
    return draw.uniform(-4, 4) * np.arange(STEPS) / STEPS + 0.5 * np.sin(_turn(draw))


def _lasting(draw: Any) -> np.ndarray:
    noise = draw.randn(STEPS)
    for i in range(1, STEPS):
        noise[i] += 0.95 * noise[i - 1]
    return noise


def _saw(draw: Any) -> np.ndarray:
    return (_turn(draw, 12, 36) / (2 * np.pi)) % 1.0
