"""Eight hourly series of 6,000 steps, made from a seed: waves of a day and a week, a slope each, noise that lasts.

    x_t = a sin(2 pi t / 24 + f) + b sin(2 pi t / 168 + g) + c t / N + e_t        e_t = 0.7 e_(t-1) + noise

Source   none    Family  series
Differs  nothing known
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from blockyard.data.table import Table
from blockyard.source._base import Source

STEPS, COUNT = 6000, 8


class Rhythms(Source):
    gives = "table"
    known = True

    def read(self, paths: Sequence[str], **how: Any) -> Table:
        draw = np.random.RandomState(0)  # whose stream never changes
        t, noise = np.arange(STEPS)[:, None], draw.randn(STEPS, COUNT)
        day, week = draw.uniform(0.5, 1.5, (2, COUNT))
        phase, slope = draw.uniform(0, 2 * np.pi, (2, COUNT)), draw.uniform(-4, 4, COUNT)
        lasting = np.zeros((STEPS, COUNT))
        for i in range(1, STEPS):
            lasting[i] = 0.7 * lasting[i - 1] + 0.2 * noise[i]
        waves = day * np.sin(2 * np.pi * t / 24 + phase[0]) + week * np.sin(2 * np.pi * t / 168 + phase[1])
        return hourly("rhythms", waves + slope * t / STEPS + lasting)


def hourly(name: str, values: np.ndarray) -> Table:
    """A table of series (N,C), an hour from row to row, rounded as a file would have them."""
    when = np.datetime64("2020-01-01T00", "us") + np.arange(len(values)) * np.timedelta64(3600, "s")
    columns = {f"x{i}": np.round(column, 6) for i, column in enumerate(values.T)}
    return Table.of(name, {"hour": when, **columns})
