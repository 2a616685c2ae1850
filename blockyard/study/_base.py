"""A study re-tests a claim: races under an equal budget, and predictions that were written before the first run.

    def study() -> Study:
        return Study(
            races=(Race("recall", ("gla", "olmo_hybrid"), task="mqar:pairs=8,length=64"),),
            predictions=(better("recall", "olmo_hybrid", "gla"),),
        )

A race is a comparison with the comparison's own statistics. A trial is anything else that is measured once a seed: a
look inside the models that the races have trained, a transform of them, a count, weights made by hand. A prediction
turns what came out into *holds*, *does not hold* or *inconclusive*, with the value it looked at and the threshold; an
inconclusive one stays that.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from blockyard.compare.documents import Report
from blockyard.compare.judge.statistics import BELOW_MARGIN, EQUIVALENT
from blockyard.compare.report.sheet import Sheet
from blockyard.core.errors import unknown

HOLDS, FAILS, OPEN = "holds", "does not hold", "inconclusive"


@dataclass(frozen=True)
class Race:
    """One comparison of a study; `options` are those of `compare`.

    smallest   parameters at which all arms can be built, where the usual few are too few for them
    """

    name: str
    arms: tuple[str, ...]
    task: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    smallest: str = "60k"

    def options_at(self, tier: str) -> dict[str, Any]:
        """Its options at a tier: at `smoke` it runs, and tells nothing."""
        if tier != "smoke":
            return dict(self.options)
        few = {"params": self.smallest, "tokens": "2k", "seeds": 2, "tuning": "none", "batch": 8}
        instead = ("memory", "flops", "minutes", "rates")  # other budgets, and what is tried in tuning
        return {name: value for name, value in self.options.items() if name not in instead} | few


class Given(NamedTuple):
    """What a trial is given: its seed, the tier, and the model that a race has trained for an arm with this seed."""

    seed: int
    tier: str
    trained: Callable[[str, str], Any]


@dataclass(frozen=True)
class Trial:
    """A measurement of a study: figures by name, once a seed; one that is none, or no number, is not known of it.

    seeds   how many, where the study has no race; else the seeds are those of its first race
    """

    name: str
    run: Callable[[Given], Mapping[str, float | None]]
    seeds: int = 2


Figures = Sequence[Mapping[str, float | None]]  # what a trial gave, seed by seed; none where it was no number


class Finding(NamedTuple):
    """How a prediction came out: the verdict, the value it looked at, and the threshold."""

    verdict: str
    value: float | None
    threshold: float


@dataclass(frozen=True)
class Prediction:
    """What is expected of a race or a trial, or of several, in words and as a function of its result, or of theirs in
    order: a report of a race, the figures of a trial."""

    text: str
    race: str | tuple[str, ...]
    judge: Callable[..., Finding]

    @property
    def races(self) -> tuple[str, ...]:
        """The names of the races that it looks at."""
        return (self.race,) if isinstance(self.race, str) else self.race


@dataclass(frozen=True)
class Study:
    """Races and trials, what is expected of them, and where there is more to look at a page of the races' reports, by
    their names."""

    races: tuple[Race, ...]
    predictions: tuple[Prediction, ...]
    page: Callable[[Mapping[str, Report]], Sheet] | None = None
    trials: tuple[Trial, ...] = ()

    def verdict(self, findings: list[Finding]) -> str:
        """Of the whole: one prediction that fails is enough, and all must hold."""
        said = {finding.verdict for finding in findings}
        return FAILS if FAILS in said else OPEN if OPEN in said else HOLDS


def better(race: str, a: str, b: str) -> Prediction:
    """a is resolved better than b. The value is what b is worse by."""

    def judge(result: Report) -> Finding:
        pair = result.pair((a, b))
        gap = abs(pair.difference) if pair.a == a else 0.0 - abs(pair.difference)  # the pair's a is the better
        return Finding(OPEN if not pair.resolved else HOLDS if gap > 0 else FAILS, gap, 0.0)

    return Prediction(f"{race}: {a} is better than {b}", race, judge)


def level(race: str, a: str, b: str) -> Prediction:
    """a and b differ by less than the margin."""

    def judge(result: Report) -> Finding:
        pair = result.pair((a, b))
        inside = pair.verdict in (EQUIVALENT, BELOW_MARGIN)
        said = HOLDS if inside else FAILS if pair.resolved else OPEN
        return Finding(said, abs(pair.difference), result.margin or 0.0)

    return Prediction(f"{race}: {a} and {b} are level within the margin", race, judge)


def below(race: str, arm: str, most: float, length: int | None = None) -> Prediction:
    """The score of every seed of an arm lies below a level; at another length than it was trained at, if given."""
    return _against(race, arm, most, length, 1)


def above(race: str, arm: str, least: float, length: int | None = None) -> Prediction:
    """The score of every seed of an arm lies above a level."""
    return _against(race, arm, least, length, -1)


def better_at(race: str, length: int, a: str, b: str) -> Prediction:
    """At another length than they were trained at the error of a is below that of b in every seed. The value is the
    mean of what it is less by."""

    def judge(result: Report) -> Finding:
        return _all_below(*([(each or {}).get(str(length)) for each in result.arm(arm).lengths] for arm in (a, b)))

    return Prediction(f"{race}: at length {length} {a} is better than {b} in every seed", race, judge)


def nearer(race: str, arm: str, figure: str, other: str, share: float = 1.0) -> Prediction:
    """Of an arm's further figures one is below another, or below this share of it, in every seed. The value is the mean
    of what it is less by."""

    def judge(result: Report) -> Finding:
        said = result.arm(arm).also
        bars = [each.get(other) for each in said]
        return _all_below([each.get(figure) for each in said], [bar if bar is None else share * bar for bar in bars])

    than = repr(other) if share == 1 else f"{share:g} times {other!r}"
    return Prediction(f"{race}: of {arm} the figure {figure!r} is below {than}", race, judge)


def lower(race: str, figure: str, a: str, b: str) -> Prediction:
    """A further figure of a is below that of b in every seed. The value is the mean of what it is less by."""

    def judge(result: Report) -> Finding:
        return _all_below(*([each.get(figure) for each in result.arm(arm).also] for arm in (a, b)))

    return Prediction(f"{race}: the figure {figure!r} of {a} is below that of {b}", race, judge)


def within(race: str, arm: str, reference: str, share: float) -> Prediction:
    """The score of every seed of an arm is at most so many times that of a reference. The value is the mean ratio."""

    def judge(result: Report) -> Finding:
        bar = result.references[reference]
        found = [score / bar for score in result.arm(arm).score.per_seed if score is not None]
        return by_seed(found, lambda value: value <= share, share)

    return Prediction(f"{race}: {arm} is at most {share:g} times {reference}", race, judge)


def ratio(first: str, second: str, arm: str, most: float) -> Prediction:
    """Of two races with the same arm and seeds the score in the first is at most so many times that in the second, in
    every seed. The value is the mean ratio."""

    def judge(one: Report, other: Report) -> Finding:
        pairs = zip(one.arm(arm).score.per_seed, other.arm(arm).score.per_seed)
        found = [a / b if b else None for a, b in pairs if a is not None and b is not None]  # no error at all: no ratio
        return of_all(found, lambda value: value <= most, most)

    text = f"{first} and {second}: the score of {arm} in the first is at most {most:g} times that in the second"
    return Prediction(text, (first, second), judge)


def lower_in(first: str, second: str, arm: str, least: float, figure: str | None = None) -> Prediction:
    """Of two races with the same arm and seeds the score in the first, or a further figure, is below that in the second
    by so much at least, in every seed. The value is the mean of what it is less by."""

    def found(result: Report) -> list[float | None]:
        arms = result.arm(arm)
        return list(arms.score.per_seed) if figure is None else [each.get(figure) for each in arms.also]

    def judge(one: Report, other: Report) -> Finding:
        gaps = [b - a for a, b in zip(found(one), found(other)) if a is not None and b is not None]
        return by_seed(gaps, lambda gap: gap >= least, least)

    what = "score" if figure is None else f"figure {figure!r}"
    text = f"{first} and {second}: the {what} of {arm} in the first is below that in the second by {least:g} or more"
    return Prediction(text, (first, second), judge)


def figure_below(race: str, arm: str, figure: str, most: float) -> Prediction:
    """A further figure of every seed of an arm is at most so much. The value is the mean."""

    def judge(result: Report) -> Finding:
        found = [value for each in result.arm(arm).also if (value := each.get(figure)) is not None]
        return by_seed(found, lambda value: value <= most, most)

    return Prediction(f"{race}: the figure {figure!r} of {arm} is at most {most:g}", race, judge)


def less(race: str, figure: str, a: str, b: str) -> Prediction:
    """What a probe found in the steps of a, their mean, is below that of b in every seed; as `lower` otherwise."""

    def judge(result: Report) -> Finding:
        found = [[getattr(probes, figure) for probes in result.arm(arm).probes if probes] for arm in (a, b)]
        return _all_below(*([_mean(steps) for steps in arm] for arm in found))

    return Prediction(f"{race}: the {figure} of {a} is below that of {b}", race, judge)


def loses_less(race: str, a: str, b: str, base: str, share: float) -> Prediction:
    """What a loses over the base is at most so large a share of what b loses, in the mean over seeds."""

    def judge(result: Report) -> Finding:
        first, second, full = (result.arm(name).score.mean for name in (a, b, base))
        if first is None or second is None or full is None or second <= full:
            return Finding(OPEN, None, share)
        part = (first - full) / (second - full)
        return Finding(HOLDS if part <= share else FAILS, part, share)

    return Prediction(f"{race}: {a} loses at most {share:g} of what {b} loses over {base}", race, judge)


def figure(trial: str, name: str, *, least: float | None = None, most: float | None = None) -> Prediction:
    """A figure of a trial is at least, or at most, so much in every seed. The value is the mean."""
    bar = most if least is None else least
    if bar is None or (least is not None and most is not None):
        raise ValueError("either least or most")

    def judge(figures: Figures) -> Finding:
        meets = (lambda value: value <= bar) if least is None else (lambda value: value >= bar)
        return of_all(_named(figures, name), meets, bar)

    return Prediction(f"{trial}: {name} is at {'most' if least is None else 'least'} {bar:g}", trial, judge)


def beneath(trial: str, low: str, high: str, share: float = 1.0) -> Prediction:
    """Of a trial one figure is below another, or below a share of it, in every seed. The value is the mean ratio, of
    seeds in which the other one is positive."""

    def judge(figures: Figures) -> Finding:
        pairs = list(zip(_named(figures, low), _named(figures, high)))
        gaps = [None if a is None or b is None else a - share * b for a, b in pairs]
        ratios = [a / b for a, b in pairs if a is not None and b is not None and b > 0]  # else it orders nothing
        return of_all(gaps, lambda gap: gap < 0, share)._replace(value=_mean(ratios))

    part = "" if share == 1 else f"{share:g} times "
    return Prediction(f"{trial}: {low} is below {part}{high}", trial, judge)


def _named(figures: Figures, name: str) -> list[float | None]:
    """A figure of every seed; one that the trial does not give is a mistake of the study."""
    if missing := [each for each in figures if name not in each]:
        raise unknown("figure of the trial", name, missing[0])
    return [each[name] for each in figures]


def of_all(found: Sequence[float | None], meets: Callable[[float], bool], bar: float) -> Finding:
    """As `by_seed`, and open where it would hold but what was found in a seed is not known (None)."""
    known = [value for value in found if value is not None]
    told = by_seed(known, meets, bar)
    return told._replace(verdict=OPEN) if len(known) < len(found) and told.verdict == HOLDS else told


def _mean(steps: Sequence[float | None]) -> float | None:
    """The mean of what is known of some steps; None where nothing is."""
    known = [step for step in steps if step is not None]
    return sum(known) / len(known) if known else None


def _all_below(low: Sequence[float | None], high: Sequence[float | None]) -> Finding:
    gaps = [b - a for a, b in zip(low, high) if a is not None and b is not None]
    if not gaps:
        return Finding(OPEN, None, 0.0)
    all_known = len(gaps) == max(len(low), len(high))
    said = HOLDS if min(gaps) > 0 and all_known else FAILS if max(gaps) <= 0 else OPEN
    return Finding(said, sum(gaps) / len(gaps), 0.0)


def _against(race: str, arm: str, bar: float, length: int | None, sign: int) -> Prediction:
    def judge(result: Report) -> Finding:
        found = result.arm(arm)
        scores = found.score.per_seed
        if length is not None:
            scores = [(lengths or {}).get(str(length)) for lengths in found.lengths]
        known = [score for score in scores if score is not None]
        if not known:
            return Finding(OPEN, None, bar)
        met = [sign * score < sign * bar for score in known]
        said = HOLDS if all(met) and len(known) == len(scores) else FAILS if not any(met) else OPEN
        return Finding(said, sum(known) / len(known), bar)

    where = f" at length {length}" if length else ""
    return Prediction(f"{race}: the score of {arm}{where} is {'below' if sign > 0 else 'above'} {bar:g}", race, judge)


def by_seed(found: Sequence[float], meets: Callable[[float], bool], bar: float) -> Finding:
    """Holds if what was found in every seed meets the bar, fails if none does. The value is the mean."""
    if not found:
        return Finding(OPEN, None, bar)
    met = [meets(each) for each in found]
    return Finding(HOLDS if all(met) else FAILS if not any(met) else OPEN, sum(found) / len(found), bar)
