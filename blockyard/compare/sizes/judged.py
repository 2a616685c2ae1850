"""The outcome of several sizes, from the finished comparison of each.

Gaps and speed-ups of K places (sizes times budgets) have intervals of level alpha / K that hold for all arms of a place
at once, so all of them hold at once. A gate has levels of its own (gate.py). Crossings are told of pairs one by one,
95% each, as along training: described, never ranked.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import permutations
from pathlib import Path

import numpy as np

from blockyard.compare.documents import ArmReport, Report
from blockyard.compare.judge.scaling import Scaling, gap_by_size
from blockyard.compare.judge.speedup import GAP, SLOPE, Range, about, ratio, relative, slope_of_curve, slope_of_tokens
from blockyard.compare.judge.speedup import speedup as speedup_of
from blockyard.compare.judge.statistics import Table, analyse
from blockyard.compare.judge.surface import TERMS, Surface, scaling
from blockyard.compare.report.result import table_of
from blockyard.compare.run.job import read_result
from blockyard.compare.sizes.documents import (
    ArmAt,
    Crossing,
    Foreseen,
    GateAnswer,
    Held,
    Law,
    Place,
    SizeOutcome,
    SizesPlan,
    SizesReport,
)
from blockyard.compare.sizes.foresee import BETTER, OPEN, WORSE, found_verdict, sizes_of
from blockyard.compare.sizes.gate import judge_gate, levels
from blockyard.core.errors import UsageError

CURVES, TOKENS = "curves", "tokens"
LOST, GONE, FADES = "lost", "gone", "fades"
FEWEST_SIZES, FEWEST_SEEDS = 4, 3  # of a law


@dataclass(frozen=True, eq=False)
class Finished:
    """A place with its report and the folder that its runs lie in."""

    place: Place
    report: Report
    folder: Path

    @cached_property
    def table(self) -> Table:
        """The losses of its runs by groups of the test."""
        plan, arms = self.report.plan, {arm.name: arm for arm in self.report.arms}
        runs = {}
        for arm in plan.arms:
            for run in arms[arm.label].runs:
                result = read_result(self.folder / run.folder)
                if result is None:
                    raise UsageError(f"{self.folder / run.folder} is not there any more: give the command again")
                runs[arm.id, run.seed] = result
        return table_of(plan, self.report.seeds, runs)

    def gaps(self, baseline: str, level: float) -> dict[str, Range]:
        """By how much each arm is better than the baseline, at once at a level; no interval where a run failed."""
        ids = {arm.label: arm.id for arm in self.report.plan.arms}
        verdicts = analyse(self.table, alpha=level, looks=self.report.looks, against=ids[baseline])
        found = {}
        for name, id in ids.items():
            scored = [verdicts.arm(each).mean is not None for each in (id, ids[baseline])]
            if name == baseline or not all(scored):
                continue
            gap = Range(*verdicts.difference(ids[baseline], id))
            failed = self.table.failures(id) or self.table.failures(ids[baseline])
            found[name] = Range(gap.value, None, None) if failed else gap
        return found

    def scores(self, level: float) -> dict[str, Range]:
        """The score of every arm with its own interval at a level."""
        label, sign = {arm.id: arm.label for arm in self.report.plan.arms}, self.report.metric.sign
        found = {}
        for arm in analyse(self.table, alpha=level, looks=self.report.looks).arms:
            if arm.mean is not None and not arm.failed:
                low, high = (arm.low, arm.high) if sign > 0 else (arm.high, arm.low)
                found[label[arm.name]] = Range(arm.mean, low, high).through(lambda loss: sign * loss)
        return found


def outcome(plan: SizesPlan, done: Sequence[Finished], held: Sequence[Held], ahead: Foreseen | None) -> SizesReport:
    """What all sizes say together."""
    first, level = done[0].report, plan.alpha / len(done)
    slopes = Slopes(plan.baseline, done)
    sizes = [_size(each, at, plan.baseline, level, slopes) for at, each in enumerate(done)]
    most = [each for each in done if each.place.budget == plan.budgets[-1]]
    laws, told = _laws(plan, done, most)
    notes = [*slopes.notes(sizes), *told]
    report = SizesReport(
        plan=plan, metric=first.metric, data=first.plan.data.name, level=level, sizes=sizes,
        crossings=_crossings(plan.arms, most), laws=laws, held=list(held), ahead=ahead, gate=[], notes=notes,
    )  # fmt: skip
    return replace(report, gate=_gate(plan, done, most, slopes))


@dataclass(frozen=True, eq=False)
class Slopes:
    """How fast the baseline's loss falls with data, at every place: by its scores, or by its learning curves."""

    baseline: str
    done: Sequence[Finished]

    @property
    def told(self) -> bool:
        """Whether the score is a loss."""
        metric = self.done[0].report.metric
        return metric.sign > 0 and not metric.share

    @property
    def curves(self) -> bool:
        """Whether the training loss is of the score's kind."""
        report = self.done[0].report
        return report.plan.data.training.unit == report.metric.unit or report.metric.name == "loss"

    def of(self, at: int, level: float) -> tuple[Range | None, str]:
        """The slope at a place with its interval, and what it is by."""
        if not self.told:
            return None, ""
        place = self.done[at].place
        same = [each for each in self.done if each.place.params == place.params]
        rows = [_scores(each.report.arm(self.baseline)) for each in same]
        if len(same) > 1 and all(rows):
            tokens = [float(each.report.arm(self.baseline).tokens) for each in same]
            value, factor = slope_of_tokens(tokens, rows, [each.place for each in same].index(place))
            spread = relative([_scores(arm) for each in self.done for arm in each.report.arms])
            return about(value, factor * spread.variance, spread.freedom, level), TOKENS
        found = self._of_curves(self.done[at].report.arm(self.baseline)) if self.curves else []
        if not found:
            return None, ""
        spread = relative([self._of_curves(arm) for each in self.done for arm in each.report.arms])
        value = float(np.mean(found))
        return about(value, spread.variance * value**2 / len(found), spread.freedom, level), CURVES

    def _of_curves(self, arm: ArmReport) -> list[float]:
        pairs = zip(arm.curves, arm.score.per_seed)
        found = [slope_of_curve(curve) for curve, score in pairs if curve and score is not None]
        return [slope for slope in found if slope is not None]

    def speedups(self, at: int, level: float) -> dict[str, Range]:
        """The speed-up of every arm at a place, at once at a level."""
        slope, _ = self.of(at, SLOPE * level)
        baseline = self.done[at].report.arm(self.baseline).score.mean
        if slope is None or baseline is None:
            return {}
        gaps = self.done[at].gaps(self.baseline, GAP * level)
        logs = {name: ratio(baseline, gap) for name, gap in gaps.items()}
        found = {name: speedup_of(log, slope) for name, log in logs.items() if log is not None}
        return {name: each for name, each in found.items() if each is not None}

    def notes(self, sizes: Sequence[SizeOutcome]) -> list[str]:
        """What keeps speed-ups from being told, or makes them rough."""
        metric = self.done[0].report.metric
        if not self.told:
            return [f"Speed-ups and predicted scores are of a loss; {metric.unit} is none."]
        if not self.curves and all(each.slope is None for each in sizes):
            return [
                f"Speed-ups need two numbers of tokens here (--tokens 1M,2M): training losses are not {metric.unit}."
            ]
        if any(each.slope_by == CURVES for each in sizes):
            return [
                "How far speed-ups are from 1 is rough, read off learning curves as they are; two numbers "
                "of tokens (--tokens 1M,2M) would tell them by scores."
            ]
        return []


def _scores(arm: ArmReport) -> list[float]:
    return [score for score in arm.score.per_seed if score is not None]


def _size(each: Finished, at: int, baseline: str, level: float, slopes: Slopes) -> SizeOutcome:
    report = each.report
    gaps, speedups, (slope, by) = each.gaps(baseline, level), slopes.speedups(at, level), slopes.of(at, SLOPE * level)
    arms = [
        ArmAt(arm.name, arm.params, arm.tokens, arm.score, arm.finished, arm.failed,
              "" if arm.name == baseline else found_verdict(report, arm.name, baseline), gaps.get(arm.name),
              speedups.get(arm.name))
        for arm in report.arms
    ]  # fmt: skip
    return SizeOutcome(each.place, report.best, len(report.seeds), arms, report.needed_difference, slope, by)


def _gate(plan: SizesPlan, done: Sequence[Finished], most: Sequence[Finished], slopes: Slopes) -> list[GateAnswer]:
    """What became of the gate for every arm, at every size of the largest budget."""
    gate = plan.gate
    if gate is None:
        return []
    passing, failing = levels(gate, plan.alpha, len(plan.arms), len(most))

    def intervals(level: float) -> list[dict[str, Range]]:
        if gate.quantity == "score":
            return [each.scores(level) for each in most]
        if gate.quantity == "speedup":
            return [slopes.speedups(done.index(each), level) for each in most]
        found = [each.gaps(plan.baseline, level) for each in most]
        return [_shares(gaps, each, plan.baseline) for gaps, each in zip(found, most)] if gate.percent else found

    yes, no = intervals(passing), intervals(failing)
    judged = [name for name in plan.arms if gate.quantity == "score" or name != plan.baseline]
    return [judge_gate(gate, name, [at.get(name) for at in yes], [at.get(name) for at in no]) for name in judged]


def _shares(gaps: dict[str, Range], each: Finished, baseline: str) -> dict[str, Range]:
    """Gaps as shares of the baseline's score."""
    whole = abs(each.report.arm(baseline).score.mean or 0.0)
    if not whole:
        return {}
    return {name: gap.through(lambda end: end / whole) for name, gap in gaps.items()}


def _crossings(names: Sequence[str], most: Sequence[Finished]) -> list[Crossing]:
    """Pairs of which one led at a smaller size, and whose lead goes with size (scaling.py)."""
    done = [(each.place, each.report) for each in most]
    sign = done[0][1].metric.sign
    found = []
    for a, b in permutations(names, 2):
        said = [found_verdict(report, a, b) for _, report in done]
        of_a, of_b = sizes_of(a, done), sizes_of(b, done)
        if BETTER not in said or len(of_a) < len(done) or len(of_b) < len(done):
            continue
        losses_a, losses_b = ([[sign * score for score in row] for _, row in of] for of in (of_a, of_b))
        way = gap_by_size([size for size, _ in of_a], losses_a, losses_b)
        if said[-1] == WORSE:
            found.append(Crossing(a, b, LOST))
        elif way and said[-1] == OPEN and way.moves and way.slope[0] > 0:
            found.append(Crossing(a, b, GONE))
        elif way and said[-1] == BETTER and way.fades:
            found.append(Crossing(a, b, FADES))
    return found


def _laws(plan: SizesPlan, done: Sequence[Finished], most: Sequence[Finished]) -> tuple[list[Law], list[str]]:
    """The fits over sizes, and over sizes and tokens; or why there are none."""
    if not Slopes(plan.baseline, done).told:
        return [], []
    if plan.axis != "tokens":
        return [], ["L(N) is fitted at equal tokens; here all sizes had equal operations."]
    sizes, budgets, seeds = len(plan.sizes), len(plan.budgets), min(len(each.report.seeds) for each in done)
    if sizes < FEWEST_SIZES or seeds < FEWEST_SEEDS:
        return [], [f"L(N) needs {FEWEST_SIZES} sizes and {FEWEST_SEEDS} seeds; here are {sizes} and {seeds}."]
    both = budgets >= FEWEST_SIZES
    notes = [f"L(N, D) needs {FEWEST_SIZES} numbers of tokens; here are {budgets}: L(N) is of the largest."]
    try:
        fits = scaling([each.report for each in (done if both else most)])
    except UsageError as error:
        return [], [f"No fit over sizes: {error}."]
    return [Law(arm, _terms(fit)) for arm, fit in fits.items()], notes if not both and budgets > 1 else []


def _terms(fit: Scaling | Surface) -> dict[str, Range]:
    names = TERMS if isinstance(fit, Surface) else ("floor", "factor", "exponent")
    return {name: Range(getattr(fit, name), *fit.interval(name)) for name in names}
