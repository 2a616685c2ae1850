"""How large a difference is found, how many seeds or how much more test text one needs.

reach(n)      the true difference D that n seeds an arm resolve with 80% power: E P(D s + Z > h s') = 0.8 in units
              of the standard error, h the half width; s' is the spread that those runs will show, of their own
              degrees of freedom. In `detectable` s, the spread as seen, is uncertain too, and the 80% hold on
              average over such tables; for `seeds` it is taken as known.
seeds         the fewest n with reach(n) <= D, for the smallest and the largest spread of the 80% interval
              V nu / chi2(nu), V one seed's variance of a pair; so the range holds the number that would do four
              times out of five
"""

import math
from dataclasses import dataclass

import numpy as np

from blockyard.compare.judge.critical import Evidence, half_width, rounded
from blockyard.compare.judge.spread import PRIOR_RUNS, Part, combined

POWER, RANGE = 0.8, 0.8
FEWEST_SEEDS, MOST_SEEDS = 3, 100


@dataclass(frozen=True)
class Noise:
    """What planning needs: the medians over pairs of one seed's variance (Vs n) and of the text part, and the family.

    `nu` is the freedom of all arms' spreads together, `alpha` is already divided by the looks.
    """

    k: int
    nu: float
    seed_variance: float
    text: Part
    alpha: float = 0.05
    against: bool = False


@dataclass(frozen=True)
class SeedsNeeded:
    """Seeds for 80% power: from `low` to `high`, a range that holds the true number four times out of five.

    None: not with 100 seeds. `more_text` is then how many times more test text would do (with 10 seeds, or with 100
    where even unlimited text leaves 10 too few), or None where seeds, not text, are what is missing.
    """

    low: int | None
    high: int | None
    more_text: float | None = None


def default_seeds(arms: int) -> int:
    """Final seeds per arm unless the user says otherwise."""
    return {1: 3, 2: 5, 3: 4, 4: 3, 5: 3}.get(arms, 5)


def seeds_for(difference: float, noise: Noise) -> SeedsNeeded:
    """Seeds per arm, 3 or more, that resolve a true difference with 80% power."""
    from scipy.special import chdtri

    def end(part: Part, p: float) -> Part:
        return Part(part.variance * part.freedom / float(chdtri(part.freedom, p)), part.freedom)

    seeds = Part(noise.seed_variance, noise.nu)
    low, high = (
        _enough(difference, noise, end(seeds, p).variance, end(noise.text, p))
        for p in ((1 - RANGE) / 2, (1 + RANGE) / 2)
    )
    return SeedsNeeded(low, high, None if low else _more_text(difference, noise))


def detectable(noise: Noise, seeds: float) -> float:
    """The true difference that a table like the one just seen resolves four times out of five."""
    return _reach(noise, noise.seed_variance, noise.text, seeds, noise.nu)


def _enough(difference: float, noise: Noise, variance: float, text: Part) -> int | None:
    low, high = FEWEST_SEEDS, MOST_SEEDS + 1
    while low < high:
        n = (low + high) // 2
        low, high = (low, n) if _reach(noise, variance, text, n) <= difference else (n + 1, high)
    return low if low <= MOST_SEEDS else None


def _reach(noise: Noise, variance: float, text: Part, n: float, known: float = math.inf) -> float:
    """The difference that n seeds resolve with 80% power; `known`: the freedom of the spread it is worked out from."""
    from scipy.special import ndtr

    vs, k = variance / n, noise.k
    moderated = Part(vs, min(2 * (n - 1 + PRIOR_RUNS), k * (n - 1)))
    half = half_width(Evidence(moderated, Part(vs, 1.5 * (n - 1)), text), k, noise.alpha, noise.against)
    # The freedom of a pair's own runs is 2 (n - 1) at best; where their spreads look unequal it is less.
    se = math.sqrt(vs + text.variance)
    later = _spreads(combined(moderated, text).freedom)
    seen = _spreads(combined(Part(vs, known), text).freedom) if math.isfinite(known) else np.ones(1)
    low, high = 0.0, 10 * half + 10 * se
    for _ in range(40):
        middle = (low + high) / 2
        found = float(ndtr((middle * seen[:, None] - half * later) / se).mean())
        low, high = (low, middle) if found >= POWER else (middle, high)
    return high


def _spreads(freedom: float) -> np.ndarray:
    """What a spread of 1 looks like with so much freedom, in 48 equally likely cases."""
    from scipy.special import gammaincinv

    return np.sqrt(2 / freedom * gammaincinv(freedom / 2, (np.arange(48) + 0.5) / 48))


def _more_text(difference: float, noise: Noise) -> float | None:
    """The factor on the test text: its part shrinks as 1/length. Bisection on the log of the factor."""
    for n in (10, MOST_SEEDS):
        if _reach(noise, noise.seed_variance, Part(0.0, 1.0), n) < difference:
            low, high = 0.0, math.log(1e9)
            for _ in range(30):
                middle = (low + high) / 2
                text = Part(noise.text.variance / math.exp(middle), noise.text.freedom)
                enough = _reach(noise, noise.seed_variance, text, n) <= difference
                low, high = (low, middle) if enough else (middle, high)
            return rounded(math.exp(high), 2)
    return None
