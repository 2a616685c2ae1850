"""What the training losses say beside the verdicts: described, never ranked.

target    the worst of all runs' final training losses, so that every run comes down to it and none is left out; per
          run the tokens at which it is first reached; arms are held against the quickest one by ln(tokens)
minutes   where the arms would stand when the quickest one ends: the loss of every run at the tokens that its own
          speed reaches by then, over seeds mean, least and largest, and by the same verdicts which may be ahead. Read
          in the middle of the slower ones' schedules, hence an estimate that is unkind to them
crossing  pairs whose order may change with four times the tokens
"""

import math
from collections.abc import Mapping
from statistics import median

import numpy as np

from blockyard.compare.documents import Along, EqualTime, Plan, RunResult, Target, TargetArm
from blockyard.compare.judge.scaling import may_cross, time_to_target
from blockyard.compare.judge.statistics import Table, analyse

ALIKE = 1.1  # minutes that differ by less are not told

Curve = np.ndarray  # (points, 2): tokens, loss
Speeds = dict[tuple[str, int], float]


def along(plan: Plan, seeds: list[int], runs: Mapping[tuple[str, int], RunResult]) -> Along | None:
    """The figures of a comparison with two or more arms that finished; names are labels."""
    label = {arm.id: arm.label for arm in plan.arms}
    curves: dict[str, dict[int, Curve]] = {}
    for arm, name in label.items():
        found = {seed: runs[arm, seed] for seed in seeds if runs[arm, seed].finished}
        if found and all(len(run.curve) > 3 for run in found.values()):
            curves[name] = {seed: np.array(run.curve) for seed, run in found.items()}
    if len(curves) < 2:
        return None
    speeds = {  # tokens a second of every run, as it went
        (label[arm], seed): curves[label[arm]][seed][-1, 0] / run.seconds
        for (arm, seed), run in runs.items()
        if seed in curves.get(label[arm], {})
    }
    return Along(_target(curves, seeds, speeds), _minutes(curves, seeds, speeds), _crossing(curves))


def _target(curves: dict[str, dict[int, Curve]], seeds: list[int], speeds: Speeds) -> Target:
    speed = {name: median(speeds[name, seed] for seed in held) for name, held in curves.items()}
    loss = max(float(curve[-1, 1]) for held in curves.values() for curve in held.values())
    reached = {
        (name, seed): math.log(tokens)
        for name, held in curves.items()
        for seed, curve in held.items()
        if (tokens := time_to_target(curve[:, 0].tolist(), curve[:, 1].tolist(), loss))
    }
    table = Table(list(curves), seeds, {key: np.array([x]) for key, x in reached.items()}, np.ones(1))
    verdicts = analyse(table)
    quickest = verdicts.arms[0].name
    arms = []
    for arm in verdicts.arms:
        assert arm.mean is not None
        times = (0.0, None, None) if arm.name == quickest else verdicts.difference(arm.name, quickest)
        tokens = math.exp(arm.mean)
        low, middle, high = (None if x is None else math.exp(min(x, 100.0)) for x in times)
        arms.append(TargetArm(arm.name, tokens, tokens / speed[arm.name] / 60, arm.finished, (low, middle, high)))
    return Target(loss, arms)


def _minutes(curves: dict[str, dict[int, Curve]], seeds: list[int], speeds: Speeds) -> EqualTime | None:
    """The arms by their loss when the quickest ends; None where all take about as long."""
    spent = {
        name: median(curve[-1, 0] / speeds[name, seed] for seed, curve in held.items()) for name, held in curves.items()
    }
    least = min(spent.values())
    if max(spent.values()) < ALIKE * least:
        return None
    reached = {
        (name, seed): float(np.interp(math.log(least * speeds[name, seed]), np.log(curve[:, 0]), curve[:, 1]))
        for name, held in curves.items()
        for seed, curve in held.items()
    }
    verdicts = analyse(Table(list(curves), seeds, {run: np.array([loss]) for run, loss in reached.items()}, np.ones(1)))
    told = []
    for arm in verdicts.arms:
        found = [loss for (name, _), loss in reached.items() if name == arm.name]
        told.append([arm.name, sum(found) / len(found), min(found), max(found)])
    order = sorted(told, key=lambda row: row[1])
    return EqualTime(least / 60, order, [arm.name for arm in verdicts.arms if arm.candidate])


def _crossing(curves: dict[str, dict[int, Curve]]) -> list[list[str]]:
    names, found = list(curves), []
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            both = sorted(set(curves[a]) & set(curves[b]))
            tokens = [curves[name][seed][:, 0] for seed in both for name in (a, b)]
            if len(both) < 2 or any(len(x) != len(tokens[0]) or (x != tokens[0]).any() for x in tokens):
                continue
            gaps = [(curves[a][seed][:, 1] - curves[b][seed][:, 1]).tolist() for seed in both]
            if may_cross(tokens[0].tolist(), gaps):
                found.append([a, b])
    return found
