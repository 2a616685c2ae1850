"""What size of change a number of seeds can see, and how many seeds a size needs.

A change of the stated effect is seen by n seeds where the last look alone would keep it with a chance of SEEN at the
level of try number AHEAD before which nothing was kept: with delta = effect / spread of a difference and c the point of
the t distribution of n - 1 degrees of freedom that is passed with a chance of level * SHARES[-1],

    P(T > c) >= SEEN        T noncentral t, n - 1 degrees of freedom, noncentrality delta sqrt(n)

The spread of a difference is sqrt(2) times that of the baseline's runs. Of these n there are few, so their spread is
known between s sqrt((n - 1) / q) for the two quantiles q of chi-square that leave 20% out on either side.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import chdtri, nctdtr, stdtrit

from blockyard.core.numbers import TRY_SEEDS
from blockyard.referee.evidence import FIRST_LOOK, SHARES
from blockyard.referee.levels import level

AHEAD = 40  # the try that the seeds are planned for
SEEN = 0.8  # how often it is to keep a change of the stated size
MOST = TRY_SEEDS.most
SIDE = 0.2  # what the bounds of a spread leave out on either side


def chance_seen(delta: float, seeds: int, alpha: float) -> float:
    """How often the last look keeps a change of delta spreads of a difference."""
    bar = -float(stdtrit(seeds - 1, level(alpha, AHEAD, 0) * SHARES[-1]))
    return 1.0 - float(nctdtr(seeds - 1, delta * math.sqrt(seeds), bar))


def most_seeds(delta: float, alpha: float) -> int | None:
    """The fewest seeds that see a change of delta spreads; None where MOST do not."""
    return next((n for n in range(FIRST_LOOK, MOST + 1) if chance_seen(delta, n, alpha) >= SEEN), None)


def smallest(seeds: int, alpha: float) -> float:
    """The smallest change, in spreads of a difference, that so many seeds see; to a hundredth."""
    low, high = 0.0, 100.0
    while high - low > 0.005:
        middle = (low + high) / 2
        low, high = (low, middle) if chance_seen(middle, seeds, alpha) >= SEEN else (middle, high)
    return high


def spread_of(shares: Sequence[float]) -> tuple[float, float, float]:
    """The spread of a difference by runs of one baseline, as shares of their mean: low, as it is, high."""
    x = np.asarray(shares, np.float64)
    n, s = len(x), float(x.std(ddof=1)) * math.sqrt(2)
    low, high = (s * math.sqrt((n - 1) / float(chdtri(n - 1, side))) for side in (SIDE, 1 - SIDE))
    return low, s, high
