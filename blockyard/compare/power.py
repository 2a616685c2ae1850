"""How many seeds, or how much more test text, a difference needs.

    resolved by n seeds with 80% power:   half(n) + t_{0.8,nu_s(n)} se(n) <= D
    Vs(n) = V / n with V one seed's variance of a pair, nu_s(n) = (k-1)(n-1), Vb as it is

The spread behind V is itself uncertain after a few seeds (by 1.4 to 2.1 after three), hence a second figure with
V nu_s / chi2_{0.2}(nu_s).
"""

import math
from dataclasses import dataclass

from blockyard.compare.critical import combined_freedom, half_width, rounded

POWER = 0.8
FEWEST_SEEDS, MOST_SEEDS = 3, 100


@dataclass(frozen=True)
class Noise:
    """What planning needs: the medians over pairs of one seed's variance (Vs n) and of the text part, and the family.

    `nu` is that of the table the variances come from, `alpha` is already divided by the looks.
    """

    k: int
    nu: float
    seed_variance: float
    text_variance: float
    groups: int
    alpha: float = 0.05
    against: bool = False


@dataclass(frozen=True)
class SeedsNeeded:
    """Seeds for 80% power: `low` with the spread as seen, `high` with the spread as it may well be.

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

    seen = noise.seed_variance
    may_be = seen * noise.nu / float(chdtri(noise.nu, 0.8))
    low, high = (_enough(difference, noise, variance) for variance in (seen, may_be))
    return SeedsNeeded(low, high, None if low else _more_text(difference, noise))


def _enough(difference: float, noise: Noise, variance: float) -> int | None:
    for n in range(FEWEST_SEEDS, MOST_SEEDS + 1):
        if _reach(noise, variance / n, noise.text_variance, n) <= difference:
            return n
    return None


def _reach(noise: Noise, vs: float, vb: float, n: int) -> float:
    """The detectable difference with n seeds."""
    from scipy.special import stdtrit

    nu_s = (noise.k - 1) * (n - 1)
    nu = combined_freedom(vs, nu_s, vb, noise.groups)
    half = half_width(vs, vb, nu_s, nu, noise.k, noise.alpha, noise.against)
    return half + float(stdtrit(nu_s, POWER)) * math.sqrt(vs + vb)


def _more_text(difference: float, noise: Noise) -> float | None:
    """The factor on the test text: its part shrinks as 1/length. Bisection on the log of the factor."""
    for n in (10, MOST_SEEDS):
        vs = noise.seed_variance / n
        if _reach(noise, vs, 0.0, n) < difference:
            low, high = 0.0, math.log(1e9)
            for _ in range(40):
                middle = (low + high) / 2
                enough = _reach(noise, vs, noise.text_variance / math.exp(middle), n) <= difference
                low, high = (low, middle) if enough else (middle, high)
            return rounded(math.exp(high), 2)
    return None
