"""Which arms of a comparison can be told apart: intervals, verdicts and ranks from a table of losses.

A run of arm a with seed s gives one loss per group g of the test text, y[a,s,g]; w_g is the group's share of the
bytes and m[a,s] = sum_g w_g y[a,s,g] the loss of the run. Lower is better. All arms share data order and test text.

    means        m[a,s] = mu_a + beta_s + e, least squares over finished runs, sum of beta = 0, d = mu_a - mu_b; without
                 holes the plain means
    seed part    Vs from every arm's own spread over seeds, drawn to the typical one as by one more run (spread.py).
                 Arms differ much in spread, so it is not pooled; the seeds that arms share gain little, so runs are
                 not paired by seed: what they do share makes the verdicts more careful, never less
                 Arms that are made of the same trained models (transforms of one base) share almost all that seeds do:
                 these are paired, Vs from the differences seed by seed, drawn to the typical one of such pairs
                 Arms whose runs have nothing in common (`unpaired`) may have any number of them: plain means, no spread
                 is drawn down, and an arm of few runs gets no more freedom than it has (spread.py)
    text part    Vb from the differences group by group, whose correlation with their neighbours is estimated from all
                 arms together and counts with its own uncertainty (spread.py)
    yardsticks   |d| must exceed, with and without the text part, the moderated spread for the whole family and the
                 spread of the pair's own runs for the pair (critical.py): a noisy arm neither borrows the quiet of the
                 others nor takes it from them, and test text never makes a difference more certain
    p, interval  p is the largest of the four chances, d -+ half the widest of the four; p < alpha / looks exactly where
                 the interval excludes 0
    detectable   the true difference that such a table resolves four times out of five, its own luck counted (power.py)
    one arm      mu_a -+ t_nu sqrt(s_a^2/n_a + Vb_a), from its own runs alone, Vb_a as Vb on y itself: wider than the
                 pairs, because the common text does not cancel. Compare by the pairs, not by overlap.
    no spread    two arms that do not vary over seeds: of a share of answers, where every run may be right, they are
                 judged by the spread of the other arms; where no arm varies, by the exact test that n runs all fall
                 before n others, p = 2 / C(2n, n) times the pairs. A loss that no seed changes is no evidence.
    order        a better than b and b better than c are together the claim that a is better than c; a pair without a
                 p of its own takes it from there

p and intervals already hold for the whole family at once, so no further correction belongs on top. Arms and seeds are
sorted before anything is summed and results are rounded (p to 4 digits, intervals to 6), so a table repeats to the bit
in whatever order it was filled. With fewer than 8 groups the text part is too rough: give one group, which drops it.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from blockyard.compare.judge.critical import Evidence, chance, failure_interval, half_width, rounded, tail
from blockyard.compare.judge.power import Noise, detectable
from blockyard.compare.judge.ranks import candidates_of, letters_of, ranks_of
from blockyard.compare.judge.spread import Part, TextNoise, capped, combined, floored, moderated, seed_part
from blockyard.core.errors import UsageError, unknown

BETTER = "better"
BELOW_MARGIN = "better, below margin"
EQUIVALENT = "equivalent"
NOT_RESOLVED = "not resolved"
IDENTICAL = "identical runs"
UNREACHED = "seeds do not reach the run"

Runs = dict[str, dict[int, np.ndarray]]


@dataclass(frozen=True, eq=False)
class Table:
    """Losses of all runs. A missing run is a hole; a run in `failed` is an outcome, and any loss it has is ignored.

    `share`: losses are shares of a count, so that runs with different starts may well agree in every digit.
    `bases`: what was trained for every arm; those of one base are made, seed by seed, of the same trained models.
    `unpaired`: no run of an arm has anything in common with one of another, whatever their seeds are called.
    """

    arms: Sequence[str]
    seeds: Sequence[int]
    losses: Mapping[tuple[str, int], np.ndarray]
    weights: np.ndarray
    failed: Collection[tuple[str, int]] = frozenset()
    share: bool = False
    bases: Mapping[str, str] = field(default_factory=dict)
    unpaired: bool = False

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

    def paired(self, a: str, b: str) -> list[int]:
        """The seeds by which two arms are paired: all they have, of arms that are made of the same trained models."""
        seeds = list(self.finished[a])
        alike = a in self.bases and self.bases[a] == self.bases.get(b) and seeds == list(self.finished[b])
        return seeds if alike else []

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
    fit = _least_squares({arm: by for arm, by in losses.items() if len(by) >= 2}, table.unpaired)
    means = {arm: float(np.mean(list(by.values()))) for arm, by in losses.items() if by} | fit.means
    order = sorted(means, key=lambda arm: (arm not in fit.means, rounded(means[arm], 9), arm))
    ranked = [arm for arm in order if arm in fit.means] or order
    if margin is None and means:
        margin = rounded(0.01 * abs(float(np.mean([means[arm] for arm in sorted(ranked)]))))
    judge = _Judge(runs, weights, fit, means, level, margin or 0.0, against is not None, table)
    pairs = _ordered([
        judge.pair(a, b) for i, a in enumerate(order) for b in order[i + 1 :] if against is None or against in (a, b)
    ], margin or 0.0)  # fmt: skip
    scores = _scores(table, losses, means, order, ranked, pairs, judge.alone())
    needed, reach, noise = judge.resolution(pairs)
    noisiest, ratio = _noisiest(judge.spreads)
    return Verdicts(scores, tuple(pairs), alpha, margin, looks, against, needed, reach, noisiest, ratio, noise)


@dataclass(frozen=True, eq=False)
class _Fit:
    """Least squares of arm plus seed. `effects`: every arm as a weighted sum of the runs, whose arms are `cells`."""

    means: dict[str, float]
    effects: dict[str, np.ndarray]
    cells: np.ndarray
    losses: np.ndarray
    scale: float

    def contrast(self, a: str, b: str) -> tuple[float, dict[str, float]]:
        """mu_a - mu_b, and per arm the sum of the squared weights with which its runs enter."""
        row = self.effects[a] - self.effects[b]
        factors = np.bincount(self.cells, row * row, len(self.means))
        return float(row @ self.losses), {arm: float(h) for arm, h in zip(self.means, factors) if h > 1e-12}


def _least_squares(losses: dict[str, dict[int, float]], apart: bool) -> _Fit:
    arms, seeds = list(losses), sorted({seed for by in losses.values() for seed in by})
    if not arms:
        return _Fit({}, {}, np.zeros(0, int), np.zeros(0), 0.0)
    place = {seed: at for at, seed in enumerate(seeds)}
    cells = [(at, place[seed], loss) for at, arm in enumerate(arms) for seed, loss in losses[arm].items()]
    of, by, y = (np.array(column) for column in zip(*cells))
    centre, level = float(y.mean()), 0.0
    own = (of == np.arange(len(arms))[:, None]).astype(float)
    rows = own / own.sum(1)[:, None]  # plain means
    if not apart and len(cells) < len(arms) * len(seeds):
        inverse = np.linalg.pinv(x := np.hstack([own.T, by[:, None] == np.arange(len(seeds))]), rcond=1e-10)
        # Where some arms are linked by no chain of shared seeds, no common seed effect can be taken out.
        if round(float(np.trace(x @ inverse))) == len(arms) + len(seeds) - 1:
            rows, level = inverse[: len(arms)], float((inverse[len(arms) :] @ (y - centre)).mean())
    means = {arm: centre + level + float(row @ (y - centre)) for arm, row in zip(arms, rows)}
    return _Fit(means, dict(zip(arms, rows)), of, y - centre, float(np.abs(y).max()))


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

    @cached_property
    def tiny(self) -> float:
        """Sums of equal losses differ in the last bits, so "no spread" is told from spread at this size."""
        return 1e-12 * self.fit.scale

    @cached_property
    def spreads(self) -> dict[str, Part]:
        """The variance over seeds of every arm in the family."""
        found = {}
        for arm in self.fit.means:
            runs = [_mean(y, self.weights) for y in self.runs[arm].values()]
            variance = float(np.var(runs, ddof=1))
            found[arm] = Part(variance if variance > self.tiny**2 else 0.0, len(runs) - 1.0)
        return found

    @cached_property
    def moderated(self) -> dict[str, Part]:
        """The same, drawn to the typical one; where arms share nothing, never down."""
        drawn = moderated(self.spreads)
        return floored(drawn, self.spreads) if self.table.unpaired else drawn

    @cached_property
    def profiles(self) -> dict[str, np.ndarray]:
        """Group losses of every arm in the family, averaged over its seeds."""
        return {arm: np.mean(list(self.runs[arm].values()), axis=0) for arm in self.fit.means}

    @cached_property
    def text(self) -> TextNoise:
        """What the groups say."""
        return TextNoise(self.weights, self.tiny)

    @cached_property
    def likely(self) -> np.ndarray:
        """How much each correlation of neighbours counts; the centred rows of k arms are k - 1 independent ones."""
        rows = np.array(list(self.profiles.values()))
        return self.text.likely(rows - rows.mean(0), len(rows) - 1)

    @property
    def comparisons(self) -> int:
        """Pairs in the family."""
        k = len(self.fit.means)
        return k - 1 if self.against else k * (k - 1) // 2

    def pair(self, a: str, b: str) -> Pair:
        """The verdict on two arms, the one with the lower loss first."""
        shared = [] if self.table.unpaired else sorted(set(self.runs[a]) & set(self.runs[b]))
        if shared and all(np.array_equal(self.runs[a][seed], self.runs[b][seed]) for seed in shared):
            return self._identical(a, b)
        if a not in self.fit.means or b not in self.fit.means:
            return self._without(a, b, "no verdict: fewer than 2 finished runs")
        if self.fit.contrast(a, b)[0] > 0:
            a, b = b, a
        difference, evidence = self.fit.contrast(a, b)[0], self._evidence(a, b)
        difference = difference if difference < -self.tiny else 0.0
        if not evidence.own.variance and not (self.table.share and evidence.moderated.variance):
            return self._exact(a, b, evidence.text) if self.table.share else self._without(a, b, UNREACHED)
        return self._judged(a, b, difference, evidence)

    @cached_property
    def gaps(self) -> dict[str, Part]:
        """The variance over seeds of the difference of every two arms that are paired by seed."""
        arms, found = list(self.fit.means), {}
        rows = {arm: np.array(list(self.runs[arm].values())) for arm in arms} if self.table.bases else {}
        for i, a in enumerate(arms):
            for b in arms[i + 1 :]:
                seeds = self.table.paired(a, b)
                differ = (rows[a] - rows[b]) @ self.weights if seeds else np.zeros(2)
                variance = float(np.var(differ, ddof=1))
                if variance > self.tiny**2:
                    found[_both(a, b)] = Part(variance, len(seeds) - 1.0)
        return found

    @cached_property
    def drawn_gaps(self) -> dict[str, Part]:
        """The same, drawn to the typical one of such pairs."""
        return moderated(self.gaps)

    def _evidence(self, a: str, b: str) -> Evidence:
        factors, own, drawn = self.fit.contrast(a, b)[1], self.spreads, self.moderated
        if _both(a, b) in self.gaps:
            factors, own, drawn = {_both(a, b): 1 / len(self.runs[a])}, self.gaps, self.drawn_gaps
        most = sum(part.freedom for part in self.spreads.values())
        seeds = [seed_part(factors, spreads, most) for spreads in (drawn, own)]
        if self.table.unpaired:
            seeds = [capped(factors, spreads, part) for spreads, part in zip((drawn, own), seeds)]
        parts = (
            *seeds,
            self.text.part(self.profiles[a] - self.profiles[b], self.likely),
        )
        return Evidence(*(Part(rounded(v, 9), rounded(f, 6)) for v, f in parts))

    def _judged(self, a: str, b: str, difference: float, evidence: Evidence, note: str = "") -> Pair:
        half = half_width(evidence, len(self.fit.means), self.level, self.against)
        p = rounded(chance(difference, evidence, len(self.fit.means), self.against), 4)
        difference, low, high = (rounded(x) for x in (difference, difference - half, difference + half))
        return self._sound(Pair(
            a, b, difference, low, high, p, p < self.level, verdict(low, high, p < self.level, self.margin), note,
            evidence.moderated.variance, evidence.text.variance, combined(evidence.moderated, evidence.text).freedom,
        ))  # fmt: skip

    def _sound(self, pair: Pair) -> Pair:
        """The pair, less what a mean over survivors cannot claim."""
        flattered = [arm for arm in (pair.a, pair.b) if self.table.failures(arm)]
        if not (pair.resolved and pair.a in flattered) and not (pair.verdict == EQUIVALENT and flattered):
            return pair
        arm = flattered[0]
        ran = self.table.failures(arm) + len(self.runs[arm])
        note = f"{arm} failed in {self.table.failures(arm)} of {ran} runs: the mean of the others flatters it"
        return replace(pair, resolved=False, verdict=NOT_RESOLVED, note=note)

    def _exact(self, a: str, b: str, text: Part) -> Pair:
        """Two arms that never vary, in a table where none does: n runs all before n others, by chance alone."""
        pair, runs = self._without(a, b, ""), (len(self.runs[a]), len(self.runs[b]))
        p = 2 / math.comb(sum(runs), runs[0]) * self.comparisons
        if text.variance:
            p = max(p, tail(abs(pair.difference) / math.sqrt(text.variance), text.freedom, len(self.fit.means)))
        p = rounded(min(p, 1.0), 4)
        word = BELOW_MARGIN if -pair.difference <= self.margin else BETTER
        enough = next(n for n in range(2, 100) if 2 / math.comb(2 * n, n) * self.comparisons < self.level)
        note = "no run of either arm differs from its others" + (
            f": {enough} runs each could tell them apart" if max(runs) < enough else ""
        )
        found = replace(pair, p=p, resolved=p < self.level, verdict=word if p < self.level else NOT_RESOLVED, note=note)
        return self._sound(found)

    def _identical(self, a: str, b: str) -> Pair:
        if a in self.fit.means and b in self.fit.means and (evidence := self._evidence(a, b)).own.variance:
            return replace(self._judged(a, b, 0.0, evidence), p=1.0, verdict=NOT_RESOLVED, note=IDENTICAL)
        return Pair(a, b, 0.0, p=1.0 if a in self.fit.means and b in self.fit.means else None, note=IDENTICAL)

    def _without(self, a: str, b: str, note: str) -> Pair:
        if self.means[a] > self.means[b]:
            a, b = b, a
        return Pair(a, b, rounded(self.means[a] - self.means[b]), note=note)

    def alone(self) -> dict[str, tuple[float, float]]:
        """The interval of every arm by itself; none where its seeds do not reach the run."""
        from scipy.special import stdtrit

        ends = {}
        for arm, mean in self.fit.means.items():
            row = self.profiles[arm]
            text = self.text.part(row, self.text.likely(row[None], 1))
            seeds = Part(self.spreads[arm].variance / len(self.runs[arm]), self.spreads[arm].freedom)
            both = combined(seeds, text)
            if seeds.variance or (self.table.share and both.variance):
                half = rounded(-float(stdtrit(both.freedom, self.level / 2)) * math.sqrt(both.variance))
                ends[arm] = rounded(mean - half), rounded(mean + half)
        return ends

    def resolution(self, pairs: Iterable[Pair]) -> tuple[float | None, float | None, Noise | None]:
        """Needed difference, detectable difference and the noise to plan with, as medians over the judged pairs."""
        judged = [pair for pair in pairs if pair.low is not None and pair.high is not None]
        if not judged:
            return None, None, None
        evidence = [self._evidence(pair.a, pair.b) for pair in judged]
        seeds = [2 / (1 / len(self.runs[pair.a]) + 1 / len(self.runs[pair.b])) for pair in judged]
        variance = float(np.median([e.moderated.variance * n for e, n in zip(evidence, seeds)]))
        text = Part(*(float(np.median(values)) for values in zip(*(e.text for e in evidence))))
        freedom = sum(part.freedom for part in self.spreads.values())
        noise = Noise(len(self.fit.means), freedom, variance, text, self.level, self.against)
        widths = [pair.high - pair.low for pair in judged if pair.high is not None and pair.low is not None]
        needed = float(np.median(widths)) / 2
        return rounded(needed), rounded(detectable(noise, float(np.median(seeds)))), noise


def _both(a: str, b: str) -> str:
    """A name for two arms, in whatever order."""
    return " ".join(sorted((a, b)))


def _mean(y: np.ndarray, weights: np.ndarray) -> float:
    return float((y * weights).sum())


def _ordered(pairs: list[Pair], margin: float) -> list[Pair]:
    """Pairs without a p take the verdict that a chain of resolved pairs implies."""
    better = {(pair.a, pair.b) for pair in pairs if pair.resolved}
    arms = {arm for pair in pairs for arm in (pair.a, pair.b)}
    for between in sorted(arms):
        better |= {(a, b) for a in arms for b in arms if (a, between) in better and (between, b) in better}
    return [
        replace(pair, resolved=True, verdict=BELOW_MARGIN if -pair.difference <= margin else BETTER)
        if pair.p is None and (pair.a, pair.b) in better
        else pair
        for pair in pairs
    ]


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
    resolved = [(pair.a, pair.b) for pair in pairs if pair.resolved]
    ranks, letters = ranks_of(ranked, resolved), letters_of(ranked, resolved)
    candidates = candidates_of(ranks, {arm for arm in failed if failed[arm]})
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


def _noisiest(spreads: dict[str, Part]) -> tuple[str | None, float | None]:
    """The arm whose runs vary most over seeds, and its spread over the pooled spread of the other arms."""
    if len(spreads) < 2:
        return None, None
    noisiest = max(spreads, key=lambda arm: rounded(spreads[arm].variance, 9))
    others = [part for arm, part in spreads.items() if arm != noisiest]
    pooled = sum(v * f for v, f in others) / sum(f for _, f in others)
    return noisiest, rounded(math.sqrt(spreads[noisiest].variance / pooled), 4) if pooled else None
