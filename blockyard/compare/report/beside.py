"""Finished comparisons, or judgements, side by side: what was asked otherwise, what came out otherwise.

    Beside     all of it                          sides   one outcome each, in the order that they were named
    BesideArm  an arm, in whatever sides it is    found by its label, else by the hash of its system
    Changed    two arms whose verdict is not the same word in every side that has both

Scores stand on one axis only where metric and unit are the same. Nothing is tested between the sides: a verdict that is
in one and not in the other does not say that the two differ.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from blockyard.compare.documents import Report
from blockyard.compare.outcome import FORMAT, Judgement, Outcome, Score
from blockyard.compare.report.format import brief, gap, same_for_all, word
from blockyard.core.document import Document
from blockyard.core.errors import UsageError
from blockyard.task._metric import Metric

ANSWERED = "-"  # where a side has no such thing


@dataclass(frozen=True)
class Side:
    """One outcome: how it is called here, where it lies, whether it was judged from a table, and its answer."""

    name: str
    folder: str
    judged: bool
    metric: Metric
    best: list[str]
    seeds: int
    alpha: float


@dataclass(frozen=True)
class Difference:
    """Something that was asked otherwise, in words, a value a side."""

    what: str
    values: list[str]


@dataclass(frozen=True)
class Place:
    """What came of an arm in one side; `called` is its label there."""

    called: str
    score: Score
    rank: list[int] | None
    candidate: bool
    finished: int
    failed: int


@dataclass(frozen=True)
class BesideArm:
    """An arm by its first label. `same`: whether all sides have it as the same system; None: not known, or one side."""

    name: str
    same: bool | None
    places: list[Place | None]


@dataclass(frozen=True)
class Changed:
    """The verdicts on a against b, a word a side (None: it lacks one of them). `turned`: better became worse."""

    a: str
    b: str
    words: list[str | None]
    turned: bool


@dataclass(frozen=True)
class Beside(Document):
    """Outcomes side by side; `axes` are the sides, by number, whose scores are of one metric and unit."""

    sides: list[Side]
    differs: list[Difference]
    alike: list[str]
    arms: list[BesideArm]
    changed: list[Changed]
    axes: list[list[int]]
    report: str | None = None
    format: int = FORMAT

    def __str__(self) -> str:
        from blockyard.compare.report.beside_text import describe_beside  # only who prints it needs the words

        return describe_beside(self)


def beside(outcomes: Sequence[Outcome[Any]], names: Sequence[str], folders: Sequence[str]) -> Beside:
    """Two outcomes or more, side by side under these names."""
    if len(outcomes) < 2:
        raise UsageError("one outcome has nothing to stand beside; name two folders or more")
    sides = [
        Side(name, folder, isinstance(each, Judgement), each.metric, each.best, _seeds(each), _error(each))
        for each, name, folder in zip(outcomes, names, folders)
    ]
    arms = _arms(outcomes)
    differs, alike = _asked(outcomes)
    return Beside(
        sides, differs, alike, arms, list(_changed(outcomes, arms)), _axes([each.metric for each in outcomes])
    )


def _seeds(outcome: Outcome[Any]) -> int:
    """The most runs that an arm has."""
    return max(len(arm.score.per_seed) for arm in outcome.arms)


def _error(outcome: Outcome[Any]) -> float:
    """The bound on the chance that any verdict of a side errs."""
    return outcome.plan.error if isinstance(outcome, Report) else outcome.alpha


def _axes(metrics: Sequence[Metric]) -> list[list[int]]:
    found: dict[tuple[str, str, str], list[int]] = {}
    for at, metric in enumerate(metrics):
        found.setdefault((metric.name, metric.unit, metric.better), []).append(at)
    return list(found.values())


def _hashes(outcome: Outcome[Any]) -> dict[str, str]:
    """What names the system of every arm, by its label; nothing of what was judged from a table."""
    return {arm.label: arm.id for arm in outcome.plan.arms} if isinstance(outcome, Report) else {}


def _arms(outcomes: Sequence[Outcome[Any]]) -> list[BesideArm]:
    """The arms of all sides, in the order of the first and then of the others; each once."""
    hashes = [_hashes(each) for each in outcomes]
    rows: list[list[str | None]] = []  # of every arm its label in each side
    for at, each in enumerate(outcomes):
        own = {arm.name for arm in each.arms}
        for arm in each.arms:
            known: list[str | None] | None = next((row for row in rows if row[at] is None and arm.name in row), None)
            if known is None:  # called otherwise: the same system, unless that has its own name here, too
                known = next((row for row in rows if row[at] is None and not own & {*row}
                              and _same_system(row, hashes, hashes[at].get(str(arm.name)))), None)  # fmt: skip
            if known is None:
                known = [None for _ in outcomes]
                rows.append(known)
            known[at] = arm.name
    return [_arm(row, outcomes, hashes) for row in rows]


def _same_system(row: Sequence[str | None], hashes: Sequence[dict[str, str]], wanted: str | None) -> bool:
    return wanted is not None and any(name and own.get(name) == wanted for name, own in zip(row, hashes))


def _arm(row: Sequence[str | None], outcomes: Sequence[Outcome[Any]], hashes: Sequence[dict[str, str]]) -> BesideArm:
    places: list[Place | None] = []
    for name, outcome in zip(row, outcomes):
        arm = None if name is None else outcome.arm(name)
        said = None if arm is None else (arm.name, arm.score, arm.rank, arm.candidate, arm.finished, arm.failed)
        places.append(None if said is None else Place(*said))
    known = [own.get(name) for name, own in zip(row, hashes) if name is not None]
    same = None if len(known) < 2 or None in known else len(set(known)) == 1
    return BesideArm(next(name for name in row if name), same, places)


def _changed(outcomes: Sequence[Outcome[Any]], arms: Sequence[BesideArm]) -> Iterator[Changed]:
    """The pairs whose verdict is another word somewhere, those that turned round first."""
    found = []
    for i, a in enumerate(arms):
        for b in arms[i + 1 :]:
            words = []
            for outcome, mine, other in zip(outcomes, a.places, b.places):
                pair = gap(outcome, mine.called, other.called) if mine and other else None
                words.append(word(pair) if pair and pair.p is not None else None)
            known = {each for each in words if each}
            if len(known) > 1:
                turned = any("better" in each for each in known) and any("worse" in each for each in known)
                found.append(Changed(a.name, b.name, words, turned))
    yield from sorted(found, key=lambda each: not each.turned)


def _asked(outcomes: Sequence[Outcome[Any]]) -> tuple[list[Difference], list[str]]:
    """What the sides were asked otherwise, and the names of what they have alike, of what all of them know."""
    told = [_request(each) for each in outcomes]
    mixed = len({isinstance(each, Judgement) for each in outcomes}) > 1
    names = [name for name in dict.fromkeys(name for own in told for name in own)
             if not mixed or all(name in own for own in told)]  # fmt: skip
    rows = [Difference(name, [own.get(name, ANSWERED) for own in told]) for name in names]
    return [row for row in rows if len(set(row.values)) > 1], [row.what for row in rows if len(set(row.values)) == 1]


def _request(outcome: Outcome[Any]) -> dict[str, str]:
    """What an outcome was asked for, by name."""
    metric, runs = outcome.metric, sum(len(arm.score.per_seed) for arm in outcome.arms)
    found = {
        "metric": metric.name, "unit": metric.unit, "better": metric.better,
        "runs": str(runs), "seeds": str(_seeds(outcome)), "alpha": f"{outcome.alpha:g}",
        "against": outcome.against or "all pairs",
    }  # fmt: skip
    if isinstance(outcome, Judgement):
        source = outcome.source
        about = {"data": source.name, "design": source.design, "margin": f"{source.margin:.3g}"}
        return found | about | {"read by": ", ".join(f"{role} {name}" for role, name in source.columns.items())}
    assert isinstance(outcome, Report)
    plan = outcome.plan
    found |= {"data": f"{plan.data.name} ({plan.data.hash[:12]})", "margin": f"{plan.margin:.3g}"}
    found |= {"task": plan.data.task, "codec": plan.data.codec} if plan.data.task or plan.data.codec else {}
    found |= {name: brief(value, 6) for name, value in plan.matched.items()}
    found |= {"looks": ", ".join(map(str, plan.looks)), "tuning": plan.tuning}
    found |= {name.replace("_", " "): str(value) for name, value in same_for_all(plan).items()}
    found["rates"] = ", ".join(f"{rate:g}" for rate in plan.same.rates)
    return {k: str(v) for k, v in found.items() if v} | {k: str(v) for k, v in sorted(plan.versions.items())}
