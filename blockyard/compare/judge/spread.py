"""The two parts of the uncertainty of a difference, each as a variance with its degrees of freedom.

seeds   s_a^2 is the variance of arm a's runs over seeds, with f_a = n_a - 1 degrees of freedom.
        own        sum_a H_a s_a^2, H_a the sum of squares of the weights of a's runs in the difference (1/n_a each)
        moderated  the same with (s_0^2 + f_a s_a^2) / (1 + f_a) on f_a + 1: each arm is drawn to the typical spread as
                   by one more run. s_0 is the geometric mean over the arms that vary, freed of its bias, so that one
                   wild arm hardly moves it. Never more freedom than all arms have together.
apart   arms whose runs have nothing in common may have any number of them, and Satterthwaite's rule trusts an arm of
        few runs too much. With V_a = H_a s_a^2 the freedom is at most the nu at which t_nu^2 sum V = sum t_g^2 V, t the
        two-sided 5% point (Banerjee's bound); g_a is f_a, and up to 2 f_a as the other arm has no more runs:
        f_a (1 + (f_a / f_b)^4). Arms of equal counts keep Satterthwaite's freedom. And an arm is never drawn down.
shared  do the seeds that arms share say anything? F of the seeds in the table of arms by seeds, each arm about its mean
text    e_g is the difference in group g. Neighbouring groups resemble each other: e_g - mean is taken as r (e_(g-1) -
        mean) + innovation. Were r known, whitening would give the variance exactly, on G - 1 degrees of freedom. It is
        averaged over r instead, each r counting by its likelihood (flat before the data, 0 to 0.95), which all arms
        share; so a short text, which says little about r, gives wide intervals.

An average over what is not known is one variance again: the mean and the variance of its logarithm are kept. The
variance of log(V chi^2_nu / nu) is trigamma(nu / 2). Below 5 degrees of freedom two such parts cannot be added by
Satterthwaite's rule; there the variance is raised until 5 give the same two-sided 5% point.
"""

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

import numpy as np

CORRELATIONS = 0.05 * np.arange(20)
FEWEST_DEGREES = 5.0
PRIOR_RUNS = 1.0
UNEVEN = 4


class Part(NamedTuple):
    """A variance and how many degrees of freedom it is known with."""

    variance: float
    freedom: float


def combined(*parts: Part) -> Part:
    """The sum of independent parts, its freedom by Satterthwaite."""
    total = sum(part.variance for part in parts)
    squares = sum(part.variance**2 / part.freedom for part in parts if part.variance)
    return Part(total, total**2 / squares if squares else parts[0].freedom)


def moderated(spreads: Mapping[str, Part]) -> dict[str, Part]:
    """Every arm's variance over seeds, drawn to the typical one; an arm that never varies is drawn to it too."""
    from scipy.special import digamma

    varying = [part for part in spreads.values() if part.variance > 0]
    if not varying:
        return dict(spreads)
    logs = [np.log(v) + np.log(f / 2) - digamma(f / 2) for v, f in varying]
    typical = float(np.exp(np.mean(logs)))
    return {
        arm: Part((PRIOR_RUNS * typical + f * v) / (PRIOR_RUNS + f), f + PRIOR_RUNS) for arm, (v, f) in spreads.items()
    }


def seed_part(factors: Mapping[str, float], spreads: Mapping[str, Part], most: float) -> Part:
    """The seed part of a difference: the arms' variances times the factors they enter with, of at most that freedom."""
    used = [Part(h * spreads[arm].variance, spreads[arm].freedom) for arm, h in factors.items() if h > 1e-12]
    variance, freedom = combined(*used)
    return Part(variance, min(freedom, most))


def floored(drawn: Mapping[str, Part], own: Mapping[str, Part]) -> dict[str, Part]:
    """The moderated variances, less what draws an arm down: where its own is larger, that."""
    return {arm: part if part.variance >= own[arm].variance else own[arm] for arm, part in drawn.items()}


def capped(factors: Mapping[str, float], spreads: Mapping[str, Part], part: Part) -> Part:
    """A seed part of two arms whose numbers of runs may differ, with no more freedom than Banerjee's bound has."""
    from scipy.special import stdtrit

    (va, fa), (vb, fb) = ((h * spreads[arm].variance, spreads[arm].freedom) for arm, h in factors.items() if h > 1e-12)
    if fa == fb or va + vb <= 0:
        return part
    least, most = min(fa, fb), max(fa, fb)
    few, many = least * (1 + (least / most) ** UNEVEN), 2 * most
    ga, gb = (few, many) if fa < fb else (many, few)
    square = (stdtrit(ga, 0.025) ** 2 * va + stdtrit(gb, 0.025) ** 2 * vb) / (va + vb)
    nodes, points = _points()
    bound = float(np.exp(np.interp(-0.5 * np.log(square), points, nodes)))
    return Part(part.variance, min(part.freedom, bound))


@cache
def _points() -> tuple[np.ndarray, np.ndarray]:
    """The logarithm of degrees of freedom, and less that of their two-sided 5% point."""
    from scipy.special import stdtrit

    nodes = np.linspace(np.log(0.5), np.log(1e5), 4000)
    return nodes, -np.log(-stdtrit(np.exp(nodes), 0.025))


def seeds_tell(runs: np.ndarray) -> float:
    """The chance that seeds explain as much of the runs (arms, seeds) as they do, if they said nothing."""
    from scipy.special import fdtrc

    k, n = runs.shape
    if k < 2 or n < 3:
        return 1.0
    rest = runs - runs.mean(1, keepdims=True)
    common = rest.mean(0)
    left = float(((rest - common) ** 2).sum()) / ((k - 1) * (n - 1))
    said = k * float((common**2).sum()) / (n - 1)
    if said <= 0:
        return 1.0
    return float(fdtrc(n - 1, (k - 1) * (n - 1), said / left)) if left > 0 else 0.0


class TextNoise:
    """What the groups of a test text, of these shares of its bytes, say about the text part."""

    def __init__(self, shares: np.ndarray, tiny: float) -> None:
        """`tiny`: differences below it are rounding."""
        groups = len(shares)
        self.shares, self.tiny, self.freedom = shares, tiny, groups - 1.0
        if groups < 2:
            return
        # A group of twice the bytes has half the variance: rows are scaled by the root of the shares.
        root, lag = np.sqrt(groups * shares), np.abs(np.subtract.outer(np.arange(groups), np.arange(groups)))
        r = CORRELATIONS[:, None, None]
        ends = np.isin(np.arange(groups), (0, groups - 1))
        inverse = np.where(lag == 0, np.where(ends, 1.0, 1 + r * r), np.where(lag == 1, -r, 0.0))
        one = inverse @ root
        self.information = one @ root
        self.project = inverse - one[:, :, None] * one[:, None, :] / self.information[:, None, None]
        self.project *= root[:, None] * root
        self.mean = (r**lag @ root @ root) / groups**2 / (1 - CORRELATIONS**2)

    def likely(self, rows: np.ndarray, independent: float) -> np.ndarray:
        """How much each of CORRELATIONS counts after rows (R, G) of which so many are independent; sum 1."""
        if len(self.shares) < 2:
            return np.ones(1)
        squares = self._squares(rows)
        some = np.log(squares[:, squares.min(0) > self.tiny**2])  # every row has its own scale, integrated out
        each = 0.5 * np.log((1 - CORRELATIONS**2) / self.information)[:, None] - 0.5 * self.freedom * some
        logs = independent / len(rows) * each.sum(1)
        counts = np.exp(logs - logs.max())
        return counts / counts.sum()

    def part(self, gap: np.ndarray, counts: np.ndarray) -> Part:
        """The text part of a difference with the group values `gap` (G,), under correlations that count so much."""
        from scipy.special import stdtrit

        squares = self._squares(gap[None])[:, 0] if self.freedom else np.zeros(1)
        if squares.min() <= self.tiny**2:
            return Part(0.0, max(self.freedom, 1.0))
        variance, freedom = _blend(counts, np.log(squares / self.freedom * self.mean), self.freedom)
        if freedom < FEWEST_DEGREES:
            variance *= (stdtrit(freedom, 0.025) / stdtrit(FEWEST_DEGREES, 0.025)) ** 2
        return Part(float(variance), max(float(freedom), FEWEST_DEGREES))

    def _squares(self, rows: np.ndarray) -> np.ndarray:
        """Residual square sums (correlations, R) of rows about their level, freed of each correlation."""
        rows = rows - (rows @ self.shares)[:, None]
        return np.einsum("rg,cgh,rh->cr", rows, self.project, rows, optimize=True)


def _blend(counts: np.ndarray, logs: np.ndarray, freedom: float) -> tuple[float, float]:
    """One variance and its freedom with the mean and the variance of the logarithm of a mixture of such."""
    from scipy.special import digamma, zeta

    middle = float(counts @ logs)
    spread = float(zeta(2, freedom / 2)) + float(counts @ (logs - middle) ** 2)
    half = 1 / spread + 0.5
    for _ in range(20):  # Newton on 1/trigamma, which is nearly straight
        trigamma = float(zeta(2, half))
        half += trigamma * (trigamma / spread - 1) / (2 * float(zeta(3, half)))
    shift = np.log(freedom / 2) - digamma(freedom / 2) - np.log(half) + digamma(half)
    return float(np.exp(middle + shift)), 2 * half
