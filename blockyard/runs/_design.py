"""What the rows of a table measured: a score for every run of an arm, or for every sample of every run.

step     of the rows of a run (and sample) that have a score the one of the last step counts; two of one step are
         a mistake of the table
failed   a score that is no finite number; a run whose column `status` or `state` says that it failed or crashed
hole     a score that is missing; a run that was killed or is running
group    the mean over the samples of a group stands for them
weight   what a sample, or a group of them, counts in the score of a run; the same in all runs, all alike without it
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from blockyard.core.errors import UsageError, brief
from blockyard.runs._columns import Roles, key
from blockyard.runs._read import Row, Rows

FAILED = ("failed", "crashed", "failure", "error")
HOLES = ("killed", "running", "scheduled", "pending", "preempted")
Run = tuple[str, str]  # an arm, and which of its runs


@dataclass(frozen=True)
class Measured:
    """The scores of one metric. A run in `failed` has none; `named`: runs have names of their own, seeds for instance.

    scores    of every run; of samples their mean            samples   of every run by sample, empty without them
    weights   of the samples, empty where all count alike
    """

    arms: list[str]
    scores: dict[Run, float]
    samples: dict[Run, dict[str, float]]
    failed: dict[Run, str]
    named: bool
    notes: list[str] = field(default_factory=list)
    weights: dict[str, float] = field(default_factory=dict)

    def runs(self, arm: str) -> list[str]:
        """The runs of an arm that finished or failed, in the order of their names."""
        found = [run for of, run in (*self.scores, *self.failed) if of == arm]
        return sorted(dict.fromkeys(found), key=natural)


@dataclass
class _Cell:
    """A score that stands so far for a run, or for a sample of it."""

    value: float
    step: float
    place: str


def natural(name: str) -> tuple[int, float, str]:
    """Numbers in their order, before words in theirs."""
    try:
        return 0, float(name), name
    except ValueError:
        return 1, 0.0, name


def measure(rows: Rows, roles: Roles, score: str) -> Measured:
    """The scores of one metric; UsageError where rows contradict one another, or say nothing."""
    arms: list[str] = []
    cells: dict[tuple[Run, str, str], _Cell] = {}
    ended: dict[Run, float] = {}
    weights: dict[str, float] = {}
    told, skipped, failed = _status(rows), Counter(), {}
    for run, row, place in _runs(rows, roles, skipped):
        if run[0] not in arms:
            arms.append(run[0])
        word = str(row.get(told) or "").lower() if told else ""
        if word in FAILED:
            failed[run] = f"its {told} is {word}"
            continue
        if word in HOLES:
            skipped[f"of runs that are {word}"] += 1
            continue
        value = row.get(score)
        if value is None:
            continue
        _keep(
            cells,
            (run, *_unit(roles, row, place)),
            _Cell(_number(value, score, place), _step(roles, row, place), place),
        )
        ended[run] = max(ended.get(run, -math.inf), _step(roles, row, place))
        if roles.weight is not None:
            _weigh(weights, _unit(roles, row, place)[0], row.get(roles.weight), place)
    notes = [f"{count} {'row' if count == 1 else 'rows'} {why}: left out" for why, count in skipped.items()]
    samples = _samples(cells, failed) if roles.pair or roles.group else {}
    scores = {run: _finite(cell.value, run, score, failed) for (run, _, _), cell in cells.items() if not samples}
    scores |= {run: mean(own, weights) for run, own in samples.items()}
    scores = {run: value for run, value in scores.items() if run not in failed}
    if not scores:
        raise UsageError(f"no row has a finite number in {score!r}")
    notes += _uneven(ended, arms) + _again(scores, arms)
    silent = [arm for arm in arms if not any(of == arm for of, _ in (*scores, *failed))]
    notes += [f"{arm} has no {score}: left out" for arm in silent]
    kept = [arm for arm in arms if arm not in silent]
    return Measured(kept, scores, samples, failed, roles.seed is not None, notes, weights)


def mean(own: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """The mean of samples that count as much as they weigh; all alike where no weights are known."""
    if not weights:
        return sum(own.values()) / len(own)
    return sum(weights[unit] * value for unit, value in own.items()) / sum(weights[unit] for unit in own)


def _weigh(weights: dict[str, float], unit: str, weight: Any, place: str) -> None:
    """Keep how much a sample counts; UsageError where that is no amount, or another one than before."""
    if not isinstance(weight, int | float) or not 0 < weight < math.inf:
        raise UsageError(f"{place}: a weight is a number above 0, not {brief(repr(weight))}")
    if weights.setdefault(unit, float(weight)) != weight:
        raise UsageError(f"{place}: {unit} weighs {weight:g} here and {weights[unit]:g} before; it has one weight")


def _status(rows: Rows) -> str | None:
    return next((name for name in rows.names if key(name) in ("status", "state")), None)


def _runs(rows: Rows, roles: Roles, skipped: Counter[str]) -> Iterator[tuple[Run, Row, str]]:
    """The run of every row. Without a column of seeds a row is a run, or all of an arm that has steps or samples."""
    several = bool(roles.pair or roles.group or roles.step)
    met: Counter[str] = Counter()
    for row, place in zip(rows.rows, rows.places):
        if row.get(roles.arm) is None:
            skipped[f"without {roles.arm}"] += 1
            continue
        arm = str(row[roles.arm])
        if roles.seed is not None:
            if row.get(roles.seed) is None:
                skipped[f"without {roles.seed}"] += 1
                continue
            yield (arm, str(row[roles.seed])), row, place
            continue
        met[arm] += 1
        yield (arm, "1" if several else str(met[arm])), row, place


def _unit(roles: Roles, row: Row, place: str) -> tuple[str, str]:
    """The group of a row's sample and the sample itself: each is the other where only one is told."""
    for name in (roles.pair, roles.group):
        if name and row.get(name) is None:
            raise UsageError(f"{place} says no {name}")
    pair = str(row[roles.pair]) if roles.pair else ""
    group = str(row[roles.group]) if roles.group else pair
    return group, pair if roles.pair else (place if roles.group else "")


def _step(roles: Roles, row: Row, place: str) -> float:
    if roles.step is None:
        return 0.0
    step = row.get(roles.step)
    if not isinstance(step, int | float):
        raise UsageError(f"{place}: {roles.step} {brief(repr(step))} is no number")
    return float(step)


def _number(value: Any, score: str, place: str) -> float:
    if isinstance(value, str):
        value = {"true": 1.0, "false": 0.0}.get(value.lower(), value)
    if isinstance(value, str):
        raise UsageError(f"{place}: {score} {brief(repr(value))} is no number")
    return float(value)


def _keep(cells: dict[tuple[Run, str, str], _Cell], at: tuple[Run, str, str], new: _Cell) -> None:
    """The score of the later step stands."""
    old = cells.get(at)
    if old is not None and old.step == new.step:
        (arm, run), _, sample = at
        what = f"{arm}, run {run}" + (f", sample {sample}" if sample else "")
        raise UsageError(
            f"{what} stands twice: {old.place} and {new.place}; name what tells them apart (--seed, --pair or --step; "
            "several columns with commas; --seed none: every row is a run), or remove one"
        )
    if old is None or new.step > old.step:
        cells[at] = new


def _samples(cells: dict[tuple[Run, str, str], _Cell], failed: dict[Run, str]) -> dict[Run, dict[str, float]]:
    """Of every run the scores by sample or group, less those that are no numbers."""
    parts: dict[Run, dict[str, list[float]]] = {}
    for (run, group, _), cell in cells.items():
        if math.isfinite(cell.value) and run not in failed:
            parts.setdefault(run, {}).setdefault(group, []).append(cell.value)
    return {run: {unit: sum(own) / len(own) for unit, own in by.items()} for run, by in parts.items()}


def _finite(value: float, run: Run, score: str, failed: dict[Run, str]) -> float:
    if not math.isfinite(value):
        failed.setdefault(run, f"its {score} is {value}")
    return value


def _uneven(ended: dict[Run, float], arms: list[str]) -> list[str]:
    """Arms whose runs end at different steps: the table cannot say whether they were done."""
    found = []
    for arm in arms:
        steps = [step for (of, _), step in ended.items() if of == arm]
        if len(set(steps)) > 1:
            found.append(f"the runs of {arm} end between step {min(steps):,.0f} and {max(steps):,.0f}")
    return _few(found)


def _again(scores: dict[Run, float], arms: list[str]) -> list[str]:
    """Arms of which most scores stand more than once: a run that is listed twice counts as two."""
    found = []
    for arm in arms:
        own = Counter(value for (of, _), value in scores.items() if of == arm)
        twice = sum(count for count in own.values() if count > 1)
        if own.total() >= 4 and 2 * twice > own.total() and len(own) > 2 and not set(own) <= {0.0, 1.0}:
            found.append(f"{twice} of the {own.total()} scores of {arm} stand more than once: is a run listed twice?")
    return _few(found)


def _few(notes: list[str]) -> list[str]:
    return notes if len(notes) <= 4 else [*notes[:3], f"and so on, for {len(notes) - 3} arms more"]
