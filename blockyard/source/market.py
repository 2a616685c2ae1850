"""Prices of forty stocks of four sectors on 1,200 days, made from a seed: no market's data.

    log p_i(t) = s_g(t) + d_i(t)        s_g(t) = a s_g(t-1) + noise        d_i(t) = a_i d_i(t-1) + noise

Every sector has a factor s_g of its own; every stock's own part d_i falls back to nothing at a speed of its own, and
that can be known of tomorrow. The first word of a column is its sector.

Source   arXiv 2506.16746    Slug  sspt    Family  series
Differs  simulated prices, of which the best forecast is known, in place of five markets'
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from blockyard.data.table import Table
from blockyard.source._base import Source

DAYS, BEFORE = 1200, 200  # and days that are left out, until nothing is left of how it began
SECTORS, EACH = ("energy", "health", "retail", "software"), 10
SECTOR, OWN = 0.01, 0.02  # daily noise of a sector's factor, and of a stock's own part
LASTS, SPEEDS = 0.98, (0.5, 0.99)  # a of the sectors, and the range of the a_i


class Market(Source):
    gives = "table"
    known = True

    def read(self, paths: Sequence[str], **how: Any) -> Table:
        draw = np.random.RandomState(0)  # whose stream never changes
        count = len(SECTORS) * EACH
        lasts = draw.uniform(*SPEEDS, count)
        noise = np.concatenate([SECTOR * draw.randn(DAYS + BEFORE, len(SECTORS)),
                                OWN * draw.randn(DAYS + BEFORE, count)], 1)  # fmt: skip
        state, found = np.zeros(len(SECTORS) + count), np.empty_like(noise)
        fades = np.concatenate([np.full(len(SECTORS), LASTS), lasts])
        for day, fresh in enumerate(noise):
            found[day] = state = fades * state + fresh
        factors, own = found[BEFORE:, : len(SECTORS)], found[BEFORE:, len(SECTORS) :]
        prices = 100 * np.exp(np.repeat(factors, EACH, 1) + own)
        names = [f"{sector} {i}" for sector in SECTORS for i in range(1, EACH + 1)]
        when = np.datetime64("2000-01-03", "us") + np.arange(DAYS) * np.timedelta64(1, "D")
        return Table.of("market", {"day": when, **dict(zip(names, np.round(prices, 6).T))})
