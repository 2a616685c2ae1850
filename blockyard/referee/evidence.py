"""The evidence of a try: differences over seeds, and what they say after every one of them.

x_1, x_2, ... are what the change is better by, seed by seed, as shares of the baseline's score: normal, of unknown mean
m and unknown spread. With t = sqrt(n) mean / sd of the first n:

keep        the chance of such a t or a larger one, where m = 0, is at most level * SHARES[i] at one of the few looks,
            which are at LOOKS[i] of the most seeds. The shares sum to 1: a try with m <= 0 is kept with a chance of at
            most level.
discard     after any seed E >= 1 / MISS, E being what speaks against a change of the stated size: of effect - x in
            place of x, with r = t / sqrt(t^2 + n - 1),

                E_n(d) = exp(-n d^2 / 2) I(n - 1, d sqrt(n) r) / I(n - 1, 0)
                I(k, a) = integral over u > 0 of u^k exp(u a - u^2 / 2)

            the ratio of the noncentral to the central t density at t, and E_n its mean over d = effect / spread *
            FACTORS. Where the mean of effect - x is 0, E is a martingale of mean 1 and ever reaches 1 / MISS with a
            chance of at most MISS; where it is below, E is lower for the same noise, since E_n grows with t and every t
            with the mean.
undecided   the most seeds were spent

Source   arXiv 2208.07610 and 2310.03722 for E; the looks are a group-sequential test whose error is shared by sums
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy.special import stdtr

LOOKS, SHARES = (0.4, 0.6, 0.8, 1.0), (1 / 12, 2 / 12, 3 / 12, 6 / 12)
FACTORS = (0.5, 2**-0.5, 1.0, 2**0.5, 2.0, 2**1.5, 4.0)  # of the stated effect: half of it to four times
MISS = 0.1  # the chance at most that a change of the stated size is discarded
FEWEST, FIRST_LOOK = 3, 4  # seeds before a try may be discarded, and kept
KEEP, DISCARD, UNDECIDED = "keep", "discard", "undecided"
STEPS = np.linspace(-10.0, 10.0, 401)  # around the peak of the integrand, whose curvature is at least 1


def looks(most: int) -> dict[int, float]:
    """After how many seeds a try may be kept, and the share of its level that is spent there; `most` is 4 or more."""
    found: dict[int, float] = {}
    for at, share in zip(LOOKS, SHARES):
        n = max(FIRST_LOOK, math.ceil(at * most))
        found[n] = found.get(n, 0.0) + share
    return found


def chance(differences: Sequence[float]) -> float:
    """The chance of so much or more for the change where it changes nothing.

    Differences that are all the same, as shares of few answers may be, say no more than their signs.
    """
    x = np.asarray(differences, np.float64)
    spread, mean = float(x.std(ddof=1)), float(x.mean())
    if not spread:
        return 0.5 ** len(x) if mean > 0 else 1.0
    return float(stdtr(len(x) - 1, -math.sqrt(len(x)) * mean / spread))


def log_evidence(differences: Sequence[float], expected: float) -> float:
    """log E of these differences, two or more; 0 where they are all zero.

    expected   the stated effect in spreads of a difference, above 0
    """
    x = np.asarray(differences, np.float64)
    size = math.sqrt(float(x @ x))
    if not size:
        return 0.0
    return float(log_mixture(len(x), np.array([x.sum() / size / math.sqrt(len(x))]), expected)[0])


def log_mixture(n: int, r: np.ndarray, expected: float) -> np.ndarray:
    """log E_n at values of r, from -1 to 1."""
    d = expected * np.array(FACTORS)[:, None]
    ratios = -n * d * d / 2 + log_integral(n - 1, d * math.sqrt(n) * r) - _at_zero(n - 1)
    return np.logaddexp.reduce(ratios, axis=0) - math.log(len(FACTORS))


def log_integral(k: int, a: np.ndarray) -> np.ndarray:
    """log I(k, a), k >= 1."""
    peak = (a + np.sqrt(a * a + 4 * k)) / 2
    u = peak[..., None] + STEPS
    with np.errstate(divide="ignore", invalid="ignore"):
        height = np.where(u > 0, k * np.log(u) + a[..., None] * u - u * u / 2, -np.inf)
    return np.logaddexp.reduce(height, axis=-1) + math.log(STEPS[1] - STEPS[0])


@lru_cache(maxsize=256)
def _at_zero(k: int) -> float:
    return (k - 1) / 2 * math.log(2) + math.lgamma((k + 1) / 2)
