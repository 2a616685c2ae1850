"""Which arms of a comparison can be told apart: intervals, verdicts and ranks from a table of losses.

A run of arm a with seed s gives one loss per group g of the test text, y[a,s,g]; w_g is the group's share of the
bytes and m[a,s] = sum_g w_g y[a,s,g] the loss of the run. Lower is better. All arms share data order and test text.

    fit          m[a,s] = mu_a + beta_s + e, least squares over finished runs, sum of beta = 0, nu_s = runs - rank,
                 MS = RSS / nu_s, d = mu_a - mu_b
    seed part    Vs = max(MS c'(X'X)^- c, var_s(m[a,s] - m[b,s]) / n_ab)         complete table: max(2 MS, s_d^2) / n
    text part    e_g = mean_s(y[a,s,g] - y[b,s,g]),  Vb = G/(G-1) sum_g w_g^2 (e_g - sum w e)^2
    together     se = sqrt(Vs + Vb),  nu = (Vs + Vb)^2 / (Vs^2/nu_s + Vb^2/(G-1))
    family       P(t,v): the chance that the largest of the family's |t| with v degrees of freedom reaches t; all pairs
                 of k arms (studentized range), or k-1 arms against one (Dunnett); C(v): P(C,v) = alpha / looks
    p            max(P(|d|/se, nu), P(|d|/sqrt(Vs), nu_s)): test text never makes a difference more certain
    interval     d -+ half,  half = max(C(nu) se, C(nu_s) sqrt(Vs))
    detectable   half + t_{0.8,nu_s} se: the true difference that is resolved four times out of five
    one arm      mu_a -+ t_nu sqrt(s_w^2/n + Vb_a), s_w pooled within arms, Vb_a as Vb on y itself: wider than the
                 pairs, because the common text does not cancel. Compare by the pairs, not by overlap.

p and intervals already hold for the whole family at once, so no further correction belongs on top. Arms and seeds are
sorted before anything is summed and results are rounded (p to 4 digits, intervals to 6), so a table repeats to the bit
in whatever order it was filled. With fewer than 8 groups the text part is too rough: give one group, which drops it.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from string import ascii_letters

import numpy as np

from blockyard.compare.critical import combined_freedom, failure_interval, half_width, rounded, tail
from blockyard.compare.power import POWER, Noise
from blockyard.core.errors import UsageError, unknown

BETTER = "better"
BELOW_MARGIN = "better, below margin"
EQUIVALENT = "equivalent"
NOT_RESOLVED = "not resolved"

Runs = dict[str, dict[int, np.ndarray]]


@dataclass(frozen=True, eq=False)
class Table:
    """Losses of all runs. A missing run is a hole; a run in `failed` is an outcome, and any loss it has is ignored."""

    arms: Sequence[str]
    seeds: Sequence[int]
    losses: Mapping[tuple[str, int], np.ndarray]
    weights: np.ndarray
    failed: Collection[tuple[str, int]] = frozenset()

    def __post_init__(self) -> None:
        if len(set(self.arms)) < len(self.arms) or len(set(self.seeds)) < len(self.seeds):
            raise UsageError("a table needs distinct arms and distinct seeds")
        for arm, seed in (*self.losses, *self.failed):
            if arm not in self.arms:
                raise unknown("arm", arm, self.arms)
            if seed not in self.seeds:
                raise UsageError(f"arm {arm!r} has a run of seed {seed}; the table's seeds are {sorted(self.seeds)}")
        weights = np.asarray(self.weights, np.float64)
        if weights.ndim != 1 or not math.isclose(weights.sum(), 1, rel_tol=1e-9) or weights.min() < 0:
            raise UsageError("weights must be one share of the bytes per group, summing to 1")
        for (arm, seed), losses in self.losses.items():
            if (arm, seed) in self.failed:
                continue
            if np.shape(losses) != weights.shape:
                raise UsageError(
                    f"arm {arm!r}, seed {seed}: losses of shape {np.shape(losses)} for {len(weights)} groups"
                )
            if not np.isfinite(losses).all():
                raise UsageError(f"arm {arm!r}, seed {seed}: a loss is not finite; name the run in `failed`")

    @cached_property
    def finished(self) -> Runs:
        """Group losses of the finished runs by arm and seed, both sorted."""
        return {
            arm: {
                seed: np.asarray(self.losses[arm, seed], np.float64)
                for seed in sorted(self.seeds)
                if (arm, seed) in self.losses and (arm, seed) not in self.failed
            }
            for arm in sorted(self.arms)
        }

    def failures(self, arm: str) -> int:
        """How many runs of an arm failed."""
        return sum(1 for name, _ in set(self.failed) if name == arm)


@dataclass(frozen=True)
class ArmScore:
    """One arm. `mean` is of the finished runs; rank is None for an arm with too few of them to be in the family."""

    name: str
    mean: float | None
    low: float | None
    high: float | None
    per_seed: tuple[float | None, ...]
    rank: tuple[int, int] | None
    letters: str
    candidate: bool
    finished: int
    failed: int
    failure_interval: tuple[float, float]


@dataclass(frozen=True)
class Pair:
    """Two arms, the one with the lower loss as `a`, so `difference` = a - b <= 0 and "better" means a better than b."""

    a: str
    b: str
    difference: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    resolved: bool = False
    verdict: str = NOT_RESOLVED
    note: str = ""
    seed_variance: float | None = None
    text_variance: float | None = None
    nu: float | None = None


@dataclass(frozen=True)
class Verdicts:
    """The outcome: arms from lowest to highest mean, pairs in that order. `margin` is None if no run finished."""

    arms: tuple[ArmScore, ...]
    pairs: tuple[Pair, ...]
    alpha: float
    margin: float | None
    looks: int
    against: str | None
    needed_difference: float | None
    detectable: float | None
    noisiest: str | None
    spread_ratio: float | None
    noise: Noise | None

    def arm(self, name: str) -> ArmScore:
        """The arm of that name."""
        found = {arm.name: arm for arm in self.arms}
        if name not in found:
            raise unknown("arm", name, found)
        return found[name]

    def pair(self, a: str, b: str) -> Pair:
        """The pair of these two arms, whichever of them is the better one."""
        for pair in self.pairs:
            if {pair.a, pair.b} == {a, b}:
                return pair
        raise UsageError(f"no pair of {a!r} and {b!r} in this table")

    def difference(self, a: str, b: str) -> tuple[float, float | None, float | None]:
        """Loss of a minus loss of b with its interval: the pair seen from a."""
        pair = self.pair(a, b)
        if pair.a == a:
            return pair.difference, pair.low, pair.high
        low, high = (None if end is None else 0.0 - end for end in (pair.high, pair.low))
        return 0.0 - pair.difference, low, high


def verdict(low: float, high: float, resolved: bool, margin: float) -> str:
    """The word for an interval: inside the margin a resolved difference is too small to matter."""
    inside = -margin <= low and high <= margin
    if resolved:
        return BELOW_MARGIN if inside else BETTER
    return EQUIVALENT if inside else NOT_RESOLVED


def analyse(
    table: Table, *, alpha: float = 0.05, margin: float | None = None, looks: int = 1, against: str | None = None
) -> Verdicts:
    """Verdicts on all pairs (or on all arms against one), valid together at alpha. Margin: 1% of the mean loss."""
    if not 0 < alpha < 1 or looks < 1 or (margin is not None and margin < 0):
        raise UsageError("alpha lies between 0 and 1, looks is at least 1 and the margin is not negative")
    if against is not None and against not in table.arms:
        raise unknown("arm", against, table.arms)
    runs, weights, level = table.finished, np.asarray(table.weights, np.float64), alpha / looks
    losses = {arm: {seed: _mean(y, weights) for seed, y in by.items()} for arm, by in runs.items()}
    fit = _least_squares({arm: by for arm, by in losses.items() if len(by) >= 2})
    means = {arm: float(np.mean(list(by.values()))) for arm, by in losses.items() if by} | fit.means
    order = sorted(means, key=lambda arm: (arm not in fit.means, rounded(means[arm], 9), arm))
    ranked = [arm for arm in order if arm in fit.means] or order
    if margin is None and means:
        margin = rounded(0.01 * abs(float(np.mean([means[arm] for arm in sorted(ranked)]))))
    judge = _Judge(runs, weights, fit, means, level, margin or 0.0, against is not None, table)
    pairs = [
        judge.pair(a, b) for i, a in enumerate(order) for b in order[i + 1 :] if against is None or against in (a, b)
    ]
    scores = _scores(table, losses, means, order, ranked, pairs, _arm_intervals(runs, losses, fit, weights, level))
    needed, detectable, noise = _resolution(pairs, runs, fit, len(weights), level, against is not None)
    noisiest, ratio = _noisiest({arm: losses[arm] for arm in fit.means}, fit.scale)
    return Verdicts(scores, tuple(pairs), alpha, margin, looks, against, needed, detectable, noisiest, ratio, noise)


@dataclass(frozen=True, eq=False)
class _Fit:
    """Least squares of arm plus seed. `cov` is (X'X)^-, its first rows and columns those of the arms in order."""

    means: dict[str, float]
    effects: np.ndarray
    cov: np.ndarray
    ms: float
    nu: int
    scale: float

    def contrast(self, a: str, b: str) -> tuple[float, float]:
        """mu_a - mu_b, and c'(X'X)^- c."""
        arms = list(self.means)
        i, j = arms.index(a), arms.index(b)
        factor = self.cov[i, i] + self.cov[j, j] - 2 * self.cov[i, j]
        return float(self.effects[i] - self.effects[j]), float(factor)


def _least_squares(losses: dict[str, dict[int, float]]) -> _Fit:
    arms, seeds = list(losses), sorted({seed for by in losses.values() for seed in by})
    if not arms:
        return _Fit({}, np.zeros(0), np.zeros((0, 0)), 0.0, 0, 0.0)
    cells = [(i, seeds.index(seed), loss) for i, arm in enumerate(arms) for seed, loss in losses[arm].items()]
    x, y = np.zeros((len(cells), len(arms) + len(seeds))), np.array([loss for _, _, loss in cells])
    for row, (i, j, _) in enumerate(cells):
        x[row, i] = x[row, len(arms) + j] = 1
    centre = float(y.mean())
    inverse = np.linalg.pinv(x, rcond=1e-10)
    theta = inverse @ (y - centre)
    rank = round(float(np.trace(x @ inverse)))
    nu, residual = len(y) - rank, y - centre - x @ theta
    if rank == len(arms) + len(seeds) - 1:
        level = centre + float(theta[len(arms) :].mean())
        means = {arm: level + float(theta[i]) for i, arm in enumerate(arms)}
    else:
        # Some arms are linked by no chain of shared seeds, so no common seed effect can be taken out.
        means = {arm: float(np.mean(list(losses[arm].values()))) for arm in arms}
    ms = float(residual @ residual) / nu if nu else 0.0
    return _Fit(means, theta[: len(arms)], inverse @ inverse.T, ms, nu, float(np.abs(y).max()))


@dataclass(frozen=True, eq=False)
class _Judge:
    """All that a verdict on one pair depends on."""

    runs: Runs
    weights: np.ndarray
    fit: _Fit
    means: dict[str, float]
    level: float
    margin: float
    against: bool
    table: Table

    def pair(self, a: str, b: str) -> Pair:
        """The verdict on two arms, the one with the lower loss first."""
        shared = sorted(set(self.runs[a]) & set(self.runs[b]))
        if shared and all(np.array_equal(self.runs[a][seed], self.runs[b][seed]) for seed in shared):
            return self._identical(a, b)
        if a not in self.fit.means or b not in self.fit.means:
            return self._without(a, b, "no verdict: fewer than 2 finished runs")
        if not shared or not self.fit.nu:
            return self._without(a, b, "no verdict: too few shared seeds")
        difference, _ = self.fit.contrast(a, b)
        if difference > 0:
            a, b, difference = b, a, -difference
        vs, vb = self._variances(a, b, shared)
        # Sums of equal losses differ in the last bits, so "no spread" is told from spread at this size.
        tiny = 1e-12 * self.fit.scale
        difference = difference if difference < -tiny else 0.0
        if vs <= tiny**2 or (self._constant(a) and self._constant(b)):
            return self._without(a, b, "seeds do not reach the run")
        return self._judged(a, b, difference, vs, vb)

    def _constant(self, arm: str) -> bool:
        first, *others = self.runs[arm].values()
        return all(np.array_equal(first, other) for other in others)

    def _variances(self, a: str, b: str, shared: list[int]) -> tuple[float, float]:
        gaps = np.array([self.runs[a][seed] - self.runs[b][seed] for seed in shared])
        spread = float(np.std((gaps * self.weights).sum(1), ddof=1)) if len(shared) >= 2 else 0.0
        vs = max(self.fit.ms * self.fit.contrast(a, b)[1], spread**2 / len(shared))
        return rounded(vs, 9), rounded(_text_variance(gaps.mean(0), self.weights), 9)

    def _judged(self, a: str, b: str, difference: float, vs: float, vb: float) -> Pair:
        k, nu_s = len(self.fit.means), self.fit.nu
        nu = round(combined_freedom(vs, nu_s, vb, len(self.weights)), 2)
        half = rounded(half_width(vs, vb, nu_s, nu, k, self.level, self.against))
        size, difference = abs(difference), rounded(difference)
        both = tail(size / math.sqrt(vs + vb), nu, k, self.against), tail(size / math.sqrt(vs), nu_s, k, self.against)
        p, low, high = rounded(max(both), 4), rounded(difference - half), rounded(difference + half)
        resolved, note = p < self.level, ""
        word = verdict(low, high, resolved, self.margin)
        flattered = [arm for arm in (a, b) if self.table.failures(arm)]
        if (resolved and a in flattered) or (word == EQUIVALENT and flattered):
            arm = flattered[0]
            ran = self.table.failures(arm) + len(self.runs[arm])
            note = f"{arm} failed in {self.table.failures(arm)} of {ran} runs: the mean of the others flatters it"
            resolved, word = False, NOT_RESOLVED
        return Pair(a, b, difference, low, high, p, resolved, word, note, vs, vb, nu)

    def _identical(self, a: str, b: str) -> Pair:
        if a not in self.fit.means or b not in self.fit.means:
            return Pair(a, b, 0.0, note="identical runs")
        shared = sorted(set(self.runs[a]) & set(self.runs[b]))
        vs, vb = self._variances(a, b, shared)
        if not self.fit.nu or vs <= (1e-12 * self.fit.scale) ** 2:
            return Pair(a, b, 0.0, p=1.0, note="identical runs")
        half = rounded(half_width(vs, vb, self.fit.nu, self.fit.nu, len(self.fit.means), self.level, self.against))
        return Pair(a, b, 0.0, -half, half, 1.0, False, NOT_RESOLVED, "identical runs", vs, vb, float(self.fit.nu))

    def _without(self, a: str, b: str, note: str) -> Pair:
        if self.means[a] > self.means[b]:
            a, b = b, a
        return Pair(a, b, rounded(self.means[a] - self.means[b]), note=note)


def _mean(y: np.ndarray, weights: np.ndarray) -> float:
    return float((y * weights).sum())


def _text_variance(e: np.ndarray, weights: np.ndarray) -> float:
    groups = len(weights)
    if groups < 2:
        return 0.0
    return groups / (groups - 1) * float((weights**2 * (e - _mean(e, weights)) ** 2).sum())


def _scores(
    table: Table,
    losses: dict[str, dict[int, float]],
    means: dict[str, float],
    order: list[str],
    ranked: list[str],
    pairs: list[Pair],
    ends: dict[str, tuple[float, float]],
) -> tuple[ArmScore, ...]:
    """All arms in order; those without a finished run come last."""
    failed = {arm: table.failures(arm) for arm in losses}
    ranks, letters = _ranks(ranked, pairs), _letters(ranked, pairs)
    candidates = _candidates(ranks, {arm for arm in failed if failed[arm]})
    return tuple(
        ArmScore(
            name=arm,
            mean=rounded(means[arm], 9) if arm in means else None,
            low=ends[arm][0] if arm in ends else None,
            high=ends[arm][1] if arm in ends else None,
            per_seed=tuple(losses[arm].get(seed) for seed in sorted(table.seeds)),
            rank=ranks.get(arm),
            letters=letters.get(arm, ""),
            candidate=arm in candidates,
            finished=len(losses[arm]),
            failed=failed[arm],
            failure_interval=failure_interval(failed[arm], len(losses[arm]) + failed[arm]),
        )
        for arm in (*order, *(arm for arm in losses if arm not in means))
    )


def _ranks(ranked: list[str], pairs: Iterable[Pair]) -> dict[str, tuple[int, int]]:
    resolved = [(pair.a, pair.b) for pair in pairs if pair.resolved]
    better = {arm: sum(1 for _, b in resolved if b == arm) for arm in ranked}
    worse = {arm: sum(1 for a, _ in resolved if a == arm) for arm in ranked}
    return {arm: (1 + better[arm], len(ranked) - worse[arm]) for arm in ranked}


def _candidates(ranks: dict[str, tuple[int, int]], failed: set[str]) -> set[str]:
    """Arms that may be best. One with a failure is not, unless every arm has one."""
    sound = set(ranks) - failed or set(ranks)
    return {arm for arm in sound if ranks[arm][0] == 1}


def _letters(ranked: list[str], pairs: Iterable[Pair]) -> dict[str, str]:
    """Arms share a letter exactly if they are not resolved: each resolved pair splits the groups that hold both."""
    groups = [frozenset(ranked)]
    for pair in pairs:
        if pair.resolved:
            both = frozenset((pair.a, pair.b))
            split = {group - {arm} if both <= group else group for group in groups for arm in both}
            groups = [group for group in split if not any(group < other for other in split)]
    groups.sort(key=lambda group: sorted(ranked.index(arm) for arm in group))
    names = [ascii_letters[i] if i < len(ascii_letters) else f"({i + 1})" for i in range(len(groups))]
    return {arm: "".join(name for name, group in zip(names, groups) if arm in group) for arm in ranked}


def _arm_intervals(
    runs: Runs, losses: dict[str, dict[int, float]], fit: _Fit, weights: np.ndarray, alpha: float
) -> dict[str, tuple[float, float]]:
    from scipy.special import stdtrit

    freedom = sum(len(losses[arm]) - 1 for arm in fit.means)
    squares = sum(float(np.var(list(losses[arm].values()))) * len(losses[arm]) for arm in fit.means)
    ends = {}
    for arm, mean in fit.means.items():
        vs = squares / freedom / len(losses[arm])
        vb = _text_variance(np.mean(list(runs[arm].values()), axis=0), weights)
        if vs > (1e-12 * fit.scale) ** 2:
            nu = combined_freedom(vs, freedom, vb, len(weights))
            half = rounded(-float(stdtrit(nu, alpha / 2)) * math.sqrt(vs + vb))
            ends[arm] = rounded(mean - half), rounded(mean + half)
    return ends


def _noisiest(losses: dict[str, dict[int, float]], scale: float) -> tuple[str | None, float | None]:
    """The arm whose runs vary most over seeds, and its spread over the pooled spread of the other arms."""
    squares = {arm: float(np.var(list(by.values()))) * len(by) for arm, by in losses.items()}
    freedom = {arm: len(by) - 1 for arm, by in losses.items()}
    if len(losses) < 2:
        return None, None
    noisiest = max(losses, key=lambda arm: rounded(squares[arm] / freedom[arm], 9))
    others = [arm for arm in losses if arm != noisiest]
    pooled = sum(squares[arm] for arm in others) / sum(freedom[arm] for arm in others)
    if pooled <= (1e-12 * scale) ** 2:
        return noisiest, None
    return noisiest, rounded(math.sqrt(squares[noisiest] / freedom[noisiest] / pooled), 4)


def _resolution(
    pairs: Iterable[Pair], runs: Runs, fit: _Fit, groups: int, alpha: float, against: bool
) -> tuple[float | None, float | None, Noise | None]:
    """Needed difference, detectable difference and the noise to plan with, as medians over the judged pairs."""
    from scipy.special import stdtrit

    halves, reaches, seed_variances, text_variances = [], [], [], []
    for pair in pairs:
        if pair.seed_variance is None or pair.text_variance is None or pair.nu is None:
            continue
        half = half_width(pair.seed_variance, pair.text_variance, fit.nu, pair.nu, len(fit.means), alpha, against)
        se = math.sqrt(pair.seed_variance + pair.text_variance)
        halves.append(half)
        reaches.append(half + float(stdtrit(fit.nu, POWER)) * se)
        seed_variances.append(pair.seed_variance * len(set(runs[pair.a]) & set(runs[pair.b])))
        text_variances.append(pair.text_variance)
    if not halves:
        return None, None, None
    median = [float(np.median(values)) for values in (halves, reaches, seed_variances, text_variances)]
    noise = Noise(len(fit.means), float(fit.nu), median[2], median[3], groups, alpha, against)
    return rounded(median[0]), rounded(median[1]), noise
