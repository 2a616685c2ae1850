"""Two waves of 20 and 33 steps of which the first swells and fades, 2,400 steps: of no family of `series_families`.

    x_t = (1 + 0.8 sin(2 pi t / 150)) sin(2 pi t / 20) + 0.7 sin(2 pi t / 33) + noise

Source   none    Family  series
Differs  nothing known
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from blockyard.data.table import Table
from blockyard.source._base import Source
from blockyard.source.rhythms import hourly

STEPS, NOISE = 2400, 0.1


class SwellingWaves(Source):
    gives = "table"
    known = True

    def read(self, paths: Sequence[str], **how: Any) -> Table:
        turn = 2 * np.pi * np.arange(STEPS)
        x = (1 + 0.8 * np.sin(turn / 150)) * np.sin(turn / 20) + 0.7 * np.sin(turn / 33)
        x = 10 + 3 * (x + NOISE * np.random.RandomState(1).randn(STEPS))  # whose stream never changes
        return hourly("swelling_waves", x[:, None])
