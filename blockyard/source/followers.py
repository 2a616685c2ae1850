"""A leader and seven series that do what it did 12 to 24 steps before: 4,000 hourly steps, made from a seed.

    x0_t = 1.6 x0_(t-1) - 0.8 x0_(t-2) + noise        xj_t = 0.9 x0_(t-lag_j) + 0.1 noise        lag_j = 12, 14, .. 24

Source   none    Family  series
Differs  nothing known
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from blockyard.data.table import Table
from blockyard.source._base import Source
from blockyard.source.rhythms import hourly

STEPS, LAGS = 4000, tuple(range(12, 25, 2))


class Followers(Source):
    gives = "table"
    known = True

    def read(self, paths: Sequence[str], **how: Any) -> Table:
        draw, before = np.random.RandomState(0), max(LAGS)
        noise = draw.randn(STEPS + before)
        leader = np.zeros(STEPS + before)
        for i in range(2, len(leader)):
            leader[i] = 1.6 * leader[i - 1] - 0.8 * leader[i - 2] + noise[i]
        leader /= leader.std()
        lagged = [0.9 * leader[before - lag : len(leader) - lag] + 0.1 * draw.randn(STEPS) for lag in LAGS]
        return hourly("followers", np.stack([leader[before:], *lagged], 1))
