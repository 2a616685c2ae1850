"""What is said of the next size before it begins, and what came of it.

    law       4 or more sizes of 3 or more seeds: L(N) of scaling.py, carried on, with the noise of the next mean added
    bracket   2 or 3 sizes, too few for a law: of all curves E + A N^-alpha through the last two, E = 0 falls furthest,
              to L2 (L2 / L1)^k with k = ln(N3 / N2) / ln(N2 / N1), and E = L2 not at all. The interval reaches from one
              to the other, each with the noise of seeds, the prediction stands in the middle
    same      1 size: no more than it has there; the interval has no lower end
    verdict   that of the last size; not resolved where a lead fades (scaling.py) by as much as the next size is larger

Predictions of a score need a loss. An interval is of one arm by itself, 95% where its rule is right: curves that bend
otherwise, and larger models that have had too few tokens, leave it. A verdict is right where the comparison says it.
"""

import math
from collections.abc import Sequence

import numpy as np

from blockyard.compare.documents import Report
from blockyard.compare.judge.critical import rounded
from blockyard.compare.judge.scaling import fit_scaling, gap_by_size
from blockyard.compare.judge.speedup import Range, relative
from blockyard.compare.sizes.documents import Foreseen, ForeseenArm, Held, HeldArm, Place, Source

LEVEL = 0.05
LAW, BRACKET, SAME = "law", "bracket", "same"
BETTER, WORSE, OPEN = "better", "worse", "not resolved"
SIZES_OF_A_LAW, SEEDS_OF_A_LAW = 4, 3
Size = tuple[float, list[float]]  # parameters, and the scores of the seeds
Done = tuple[Place, Report]


def foresee(place: Place, baseline: str, done: Sequence[Done]) -> Foreseen | None:
    """The prediction for a place from the finished smaller sizes at its budget, None where there are none."""
    smaller = [(at, found) for at, found in done if at.budget == place.budget and at.params < place.params]
    smaller.sort(key=lambda each: each[0].params)
    if not smaller:
        return None
    last = smaller[-1][1]
    arms = []
    for name in [arm.label for arm in last.plan.arms]:
        sizes = sizes_of(name, smaller)
        if not sizes or sizes[-1][0] != last.arm(name).params:
            continue  # it is not among the finished of the last size
        rule = LAW if _lawful(sizes) else BRACKET if len(sizes) > 1 else SAME
        score = None if last.metric.sign < 0 or last.metric.share else _score(rule, sizes, place.params)
        verdict = "" if name == baseline else _verdict(name, baseline, smaller, place)
        arms.append(ForeseenArm(name, rule, score, verdict))
    made_from = [Source(at.folder, {arm.name: _finished(found, arm.name) for arm in found.arms})
                 for at, found in smaller]  # fmt: skip
    return Foreseen(place, made_from, arms) if arms else None


def _lawful(sizes: Sequence[Size]) -> bool:
    return len(sizes) >= SIZES_OF_A_LAW and min(len(row) for _, row in sizes) >= SEEDS_OF_A_LAW


def sizes_of(name: str, done: Sequence[Done]) -> list[Size]:
    """The sizes of an arm with the scores of its finished runs, in the order given."""
    found = [(float(arm.params), _finished(report, name)) for _, report in done for arm in report.arms if
             arm.name == name]  # fmt: skip
    return [(params, row) for params, row in found if row]


def _finished(report: Report, name: str) -> list[float]:
    return [score for score in report.arm(name).score.per_seed if score is not None]


def _score(rule: str, sizes: Sequence[Size], params: float) -> Range:
    """The score at the next size with its interval."""
    from scipy.special import stdtrit

    spread = relative([row for _, row in sizes])
    t = -float(stdtrit(spread.freedom, LEVEL / 2)) if spread.freedom else 0.0
    (_, row), runs = sizes[-1], len(sizes[-1][1])
    last = float(np.mean(row))
    own = t * math.sqrt(spread.variance / runs)  # of one mean, as a share of it
    if rule == SAME:
        return _told(last, None, last * (1 + own * math.sqrt(2)))
    if rule == LAW:
        fit = fit_scaling([size for size, _ in sizes], [row for _, row in sizes]).predict(params)
        return _told(fit.loss, fit.loss - math.hypot(fit.loss - fit.low, own * fit.loss),
                     fit.loss + math.hypot(fit.high - fit.loss, own * fit.loss))  # fmt: skip
    (n1, before), (n2, _) = sizes[-2:]
    first, k = float(np.mean(before)), math.log(params / n2) / math.log(n2 / n1)
    furthest = last * (last / first) ** k
    wide = own * math.sqrt((1 + k) ** 2 + k**2 * runs / len(before) + 1)
    ends = sorted([(furthest, wide), (last, own * math.sqrt(2))])
    return _told((furthest + last) / 2, ends[0][0] * (1 - ends[0][1]), ends[1][0] * (1 + ends[1][1]))


def _told(value: float, low: float | None, high: float) -> Range:
    return Range(rounded(value), None if low is None else rounded(low), rounded(high))


def _verdict(name: str, baseline: str, done: Sequence[Done], place: Place) -> str:
    """The verdict on an arm against the baseline, unless its lead, or that of the baseline, fades."""
    report = done[-1][1]
    said, a, b = found_verdict(report, name, baseline), sizes_of(name, done), sizes_of(baseline, done)
    if said == OPEN or len(a) < len(done) or len(b) < len(done):
        return said
    sign, factor = report.metric.sign, place.params / a[-1][0]
    losses_a, losses_b = ([[sign * score for score in row] for _, row in of] for of in (a, b))
    found = gap_by_size([size for size, _ in a], losses_a, losses_b, factor)
    return OPEN if found and found.fades else said


def found_verdict(report: Report, name: str, baseline: str) -> str:
    """What a comparison says of an arm against the baseline, in the words of a prediction."""
    pair = report.by_names.get(frozenset((name, baseline)))
    if pair is None or not pair.resolved:
        return OPEN
    return BETTER if pair.a == name else WORSE


def held(foreseen: Foreseen, report: Report, baseline: str) -> Held:
    """A prediction beside what came."""
    arms = []
    known = {arm.name: arm for arm in report.arms}
    for said in foreseen.arms:
        mean = known[said.name].score.mean if said.name in known else None
        verdict = found_verdict(report, said.name, baseline) if said.verdict and mean is not None else ""
        inside = None if said.score is None or mean is None else _inside(said.score, mean)
        arms.append(HeldArm(said.name, said, mean, verdict, inside, verdict == said.verdict if verdict else None))
    return Held(foreseen, arms)


def _inside(score: Range, mean: float) -> bool:
    return (score.low is None or score.low <= mean) and (score.high is None or mean <= score.high)
