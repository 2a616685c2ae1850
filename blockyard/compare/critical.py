"""Critical values of a family of comparisons, degrees of freedom of a sum of variances, and exact failure rates.

tail       P(t,v): the chance that the largest |t| of the family reaches t when no arm differs. The family is all
           pairs of k arms, P(Q_{k,v} >= sqrt(2) t) with Q the studentized range, or k-1 arms against one
           (Dunnett). With s^2 = chi^2_v / v and z a standard normal deviate
               all pairs     E_s E_z k [Phi(z)^(k-1) - (Phi(z) - Phi(z - sqrt(2) t s))^(k-1)]
               against one   E_s E_z 1 - [Phi(z + sqrt(2) t s) - Phi(z - sqrt(2) t s)]^(k-1)
critical   C(v): P(C,v) = alpha
combined   nu = (Vs + Vb)^2 / (Vs^2/nu_s + Vb^2/(G-1)) for seed part Vs and text part Vb (Satterthwaite)
half       max(C(nu) sqrt(Vs + Vb), C(nu_s) sqrt(Vs)): test text never makes a difference more certain
failures   Clopper and Pearson's interval
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np

from blockyard.core.errors import UsageError


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
        reached = k * (ndtr(z) ** (k - 1) - (ndtr(z) - ndtr(z - x)) ** (k - 1)) @ normal
    return min(1.0, float(density @ reached / (density.sum() * normal.sum())))


def critical(k: int, nu: float, alpha: float = 0.05, against: bool = False) -> float:
    """C(nu): the t that a family of k arms reaches by chance with probability alpha; nu counts to 0.01."""
    return _critical(k, round(float(nu), 2), float(alpha), against)


@lru_cache(maxsize=8192)
def _critical(k: int, nu: float, alpha: float, against: bool) -> float:
    from scipy.optimize import brentq
    from scipy.special import stdtrit

    alone = -float(stdtrit(nu, alpha / 2))
    if k == 2:
        return alone
    comparisons = k - 1 if against else k * (k - 1) / 2
    bonferroni = -float(stdtrit(nu, alpha / 2 / comparisons))

    def excess(log_t: float) -> float:
        return math.log(tail(math.exp(log_t), nu, k, against) / alpha)

    root: Any = brentq(excess, math.log(alone), math.log(bonferroni), xtol=1e-11)
    return math.exp(root)


def combined_freedom(vs: float, nu_s: float, vb: float, groups: int) -> float:
    """Degrees of freedom of Vs + Vb."""
    if vb == 0 or groups < 2:
        return float(nu_s)
    return (vs + vb) ** 2 / (vs**2 / nu_s + vb**2 / (groups - 1))


def half_width(vs: float, vb: float, nu_s: float, nu: float, k: int, alpha: float, against: bool) -> float:
    """Half of the interval of a difference with seed part vs and text part vb."""
    both = critical(k, nu, alpha, against) * math.sqrt(vs + vb)
    return max(both, critical(k, nu_s, alpha, against) * math.sqrt(vs))


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
