"""Critical values of a family of comparisons, the half width they give, and exact failure rates.

tail       P(t,v): the chance that the largest |t| of the family reaches t when no arm differs. The family is all
           pairs of k arms, P(Q_{k,v} >= sqrt(2) t) with Q the studentized range, or k-1 arms against one
           (Dunnett). With s^2 = chi^2_v / v and z a standard normal deviate
               all pairs     E_s E_z k [Phi(z)^(k-1) - (Phi(z) - Phi(z - sqrt(2) t s))^(k-1)]
               against one   E_s E_z 1 - [Phi(z + sqrt(2) t s) - Phi(z - sqrt(2) t s)]^(k-1)
critical   C(v): P(C,v) = alpha
yardsticks a difference must reach four lengths: by the moderated spread at 0.8 alpha for the whole family (a fifth is
           kept back for what is approximate), and by the two arms' own spread at 0.4 alpha for the pair alone (alpha
           where it is the only pair), each with and without the text part, which so never makes more certain
failures   Clopper and Pearson's interval
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from blockyard.compare.judge.spread import Part, combined
from blockyard.core.errors import UsageError

RESERVE, ALONE = 0.8, 0.4
MANY = 12  # arms


def tail(t: float, nu: float, k: int, against: bool = False) -> float:
    """P(t, nu): the chance that some |t| of the family of k arms reaches t when no arm differs."""
    from scipy.special import gammainccinv, gammaincinv, ndtr, stdtr

    if k == 2:
        return float(2 * stdtr(nu, -abs(t)))
    # The pooled spread s is integrated over log s, where its density is smooth even for one degree of freedom, so that
    # the plain sum over an even grid is accurate to many digits; likewise for the normal deviate z.
    low, high = (0.5 * math.log(2 * end / nu) for end in (gammaincinv(nu / 2, 1e-16), gammainccinv(nu / 2, 1e-16)))
    log_s = np.linspace(low, high, max(96, math.ceil((high - low) / 0.08)))
    density = nu * (log_s - 0.5 * np.expm1(2 * log_s))
    density = np.exp(density - density.max())
    z = np.linspace(-8.5, 8.5, 69)
    normal = np.exp(-0.5 * z * z)
    x = math.sqrt(2) * abs(t) * np.exp(log_s)[:, None]
    if against:
        reached = (1 - (ndtr(z + x) - ndtr(z - x)) ** (k - 1)) @ normal
    else:
        below = ndtr(z)
        reached = k * (below ** (k - 1) - (below - ndtr(z - x)) ** (k - 1)) @ normal
    return min(1.0, float(density @ reached / (density.sum() * normal.sum())))


def critical(k: int, nu: float, alpha: float = 0.05, against: bool = False) -> float:
    """C(nu): the t that a family of k arms reaches by chance with probability alpha; nu counts to 0.01."""
    nu = round(float(nu), 2)
    if k > MANY and nu >= 1:  # a hundred millionth off
        return math.exp(float(_curve(k, float(alpha), against)(nu**-0.5)))
    return _critical(k, nu, float(alpha), against)


@lru_cache(maxsize=8192)
def _critical(k: int, nu: float, alpha: float, against: bool) -> float:
    from scipy.special import stdtrit

    alone = -float(stdtrit(nu, alpha / 2))
    if k == 2:
        return alone
    comparisons = k - 1 if against else k * (k - 1) / 2
    bonferroni = -float(stdtrit(nu, alpha / 2 / comparisons))

    def excess(log_t: float) -> float:
        return math.log(tail(math.exp(log_t), nu, k, against) / alpha)

    ends = math.log(alone), math.log(bonferroni)
    return math.exp(_root(excess, *ends))


@lru_cache(maxsize=64)
def _curve(k: int, alpha: float, against: bool) -> np.polynomial.Chebyshev:
    """log C of a family over nu^-1/2, for nu from 1 on: a table of many arms asks for hundreds of values."""
    at = np.cos(np.pi * (np.arange(32) + 0.5) / 32) / 2 + 0.5
    logs = [math.log(_critical(k, 1 / x**2, alpha, against)) for x in at]
    return np.polynomial.Chebyshev.fit(at, logs, 31, domain=[0, 1])


def _root(excess: Callable[[float], float], low: float, high: float) -> float:
    """Where a smooth falling function is 0, by secants that stay between two ends."""
    x, y, fx, fy = low, high, excess(low), excess(high)
    for _ in range(60):
        if abs(y - x) < 1e-12 or fx == fy:
            break
        x, y, fx = y, min(max(y - fy * (y - x) / (fy - fx), low), high), fy
        fy = excess(y)
    return y


class Evidence(NamedTuple):
    """What a difference is held against: its seed part, moderated and by the pair's own runs, and its text part."""

    moderated: Part
    own: Part
    text: Part

    def yardsticks(self) -> list[tuple[bool, Part]]:
        """The four variances with their freedom, and whether each is judged for the family or for the pair alone."""
        alone = [(True, self.moderated), (False, self.own)]
        both = [(family, combined(part, self.text)) for family, part in alone] if self.text.variance else []
        # Of two for the same claim, the one with the larger variance and the fewer degrees of freedom is the wider.
        kept = [(f, p) for (f, p), (_, q) in zip(alone, both) if q.freedom > p.freedom] if both else alone
        return [(family, Part(part.variance, round(part.freedom, 2))) for family, part in kept + both]


def half_width(evidence: Evidence, k: int, alpha: float, against: bool) -> float:
    """Half of the interval of a difference."""
    from scipy.special import stdtrit

    alone = alpha if k == 2 else ALONE * alpha
    return max(
        math.sqrt(part.variance)
        * (critical(k, part.freedom, RESERVE * alpha, against) if family else -float(stdtrit(part.freedom, alone / 2)))
        for family, part in evidence.yardsticks()
    )


def chance(difference: float, evidence: Evidence, k: int, against: bool) -> float:
    """p of a difference: below alpha exactly where it exceeds the half width at alpha."""
    from scipy.special import stdtr

    alone, found = 1.0 if k == 2 else ALONE, 0.0
    for family, (variance, freedom) in evidence.yardsticks():
        if variance > 0:
            t = abs(difference) / math.sqrt(variance)
            p = tail(t, freedom, k, against) / RESERVE if family else 2 * float(stdtr(freedom, -t)) / alone
            found = max(found, p)
    return min(found, 1.0)


def failure_interval(failed: int, runs: int, alpha: float = 0.05) -> tuple[float, float]:
    """Exact interval of the failure rate: two-sided, or one-sided where none or all of the runs failed."""
    from scipy.special import betaincinv

    if not 0 <= failed <= runs:
        raise UsageError(f"{failed} failures of {runs} runs; give a count between 0 and the number of runs")
    if runs == 0:
        return 0.0, 1.0
    side = alpha / 2 if 0 < failed < runs else alpha
    low = float(betaincinv(failed, runs - failed + 1, side)) if failed else 0.0
    high = float(betaincinv(failed + 1, runs - failed, 1 - side)) if failed < runs else 1.0
    return rounded(low), rounded(high)


def rounded(value: float, digits: int = 6) -> float:
    """The value to that many digits, leading zeros not counted."""
    return float(f"{value:.{digits - 1}e}")
