"""The report of a comparison, from its plan and the results of its runs: a document, a table and a page."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from blockyard.compare.documents import Arm, ArmReport, PairReport, Plan, Report, Run, RunResult, Score, SeedsNeeded
from blockyard.compare.judge.curves import along
from blockyard.compare.judge.power import seeds_for
from blockyard.compare.judge.statistics import EQUIVALENT, ArmScore, Pair, Table, Verdicts, analyse
from blockyard.compare.outcome import Judgement
from blockyard.compare.report.page import render
from blockyard.compare.report.rows import runs_csv
from blockyard.compare.report.terminal import describe
from blockyard.core.files import sealed, write_whole

R = TypeVar("R", bound=Report | Judgement)
Runs = Mapping[tuple[str, int], RunResult]
Rates = Mapping[tuple[str, int], tuple[float, bool]]  # of an arm and a seed, and whether it lies at the grid's edge
Trials = list[dict[str, list[float]]]


def assemble(plan: Plan, seeds: list[int], runs: Runs, rates: Rates, trials: Trials) -> Report:
    """Verdicts and figures of all arms, from the plan and the results of these seeds' final runs."""
    sign, table = plan.metric.sign, table_of(plan, seeds, runs)
    means = [float(table.weights @ y) for y in table.losses.values()]
    margin = plan.margin * (abs(float(np.mean(means))) if not table.share else 1.0) if means else None
    verdicts = analyse(table, alpha=plan.alpha, margin=margin, looks=len(plan.looks), against=plan.against)
    label = {arm.id: arm.label for arm in plan.arms}
    return Report(
        plan=plan,
        metric=plan.metric,
        alpha=plan.alpha,
        margin=verdicts.margin,
        looks=verdicts.looks,
        seeds=seeds,
        against=label.get(plan.against or ""),
        arms=[_arm(plan, seeds, plan.arm(score.name), score, runs, rates, trials) for score in verdicts.arms],
        references={name: float(_weights(runs) @ np.array(y)) for name, y in plan.references.items()},
        pairs=[_pair(pair, label, sign) for pair in verdicts.pairs],
        needed_difference=verdicts.needed_difference,
        detectable=verdicts.detectable,
        seeds_for_margin=_seeds(verdicts),
        noisiest=label.get(verdicts.noisiest or ""),
        spread_ratio=verdicts.spread_ratio,
        along=along(plan, seeds, runs),
        weights=_weights(runs).tolist() if any(result.finished for result in runs.values()) else [],
    )


def table_of(plan: Plan, seeds: list[int], runs: Runs) -> Table:
    """The losses of these seeds' final runs by the ids of their arms, as the statistics take them."""
    finished = {key: result for key, result in runs.items() if result.finished}
    losses = {key: plan.metric.sign * np.array(result.groups, np.float64) for key, result in finished.items()}
    weights = _weights(runs)
    if len(weights) < 8:  # too few for the uncertainty of the text: leave that part out, the report says so
        losses, weights = {key: np.array([weights @ y]) for key, y in losses.items()}, np.ones(1)
    bases = {arm.id: plan.base(arm).id for arm in plan.arms}
    failed = {key for key in runs if key not in finished}
    # a share of wrong answers is a share already
    return Table(list(bases), seeds, losses, weights, failed, share=plan.metric.share, bases=bases)


def _weights(runs: Runs) -> np.ndarray:
    """The shares of the groups of the test."""
    finished = next((result for result in runs.values() if result.finished), None)
    return np.array(finished.weights) if finished else np.ones(1)


def settled(report: Report) -> bool:
    """Whether more seeds have nothing left to tell: one arm may be the best, or no pair is open."""
    return len(report.best) == 1 or all(p.resolved or p.verdict == EQUIVALENT for p in report.pairs)


def write(report: R, folder: Path) -> R:
    """Write result.json, report.txt, report.html, of a comparison runs.csv; the report, which now says where it lies.

    Each file is there whole or not at all.
    """
    report = replace(report, report=str(folder / "report.html"))
    write_whole(folder / "result.json", sealed(report.to_json()))
    for name, page in (("report.txt", describe(report, whole=True) + "\n"), ("report.html", render(report))):
        write_whole(folder / name, page.encode("utf-8", "backslashreplace"))  # the name of a file may be no UTF-8
    if isinstance(report, Report):
        write_whole(folder / "runs.csv", runs_csv(report).encode("utf-8", "backslashreplace"))
    return report


def _turned(sign: int, value: float | None) -> float | None:
    """A figure in the direction of the metric; 0 has no sign."""
    return None if value is None else sign * value + 0.0


def _ends(sign: int, low: float | None, high: float | None) -> tuple[float | None, float | None]:
    """An interval in the direction of the metric."""
    low, high = (low, high) if sign > 0 else (high, low)
    return _turned(sign, low), _turned(sign, high)


def _pair(pair: Pair, label: dict[str, str], sign: int) -> PairReport:
    low, high = _ends(sign, pair.low, pair.high)
    difference = sign * pair.difference + 0.0
    said = (pair.p, pair.resolved, pair.verdict, pair.note)
    return PairReport(label[pair.a], label[pair.b], low, high, difference, *said)


def _arm(
    plan: Plan, seeds: list[int], arm: Arm, score: ArmScore, runs: Runs, rates: Rates, trials: Trials
) -> ArmReport:
    speed, sign, base = plan.speed[arm.id], plan.metric.sign, plan.base(arm)
    mine = [runs[arm.id, seed] for seed in seeds]
    tokens = plan.steps[arm.id] * plan.same.step_tokens
    folders = [f"runs/{result.key}" for result in mine]
    scores = [(loss, i) for i, loss in enumerate(score.per_seed) if loss is not None]
    best = min(scores)[1] if scores else None
    used, edges = zip(*(rates[arm.id, seed] for seed in seeds))
    tried = np.mean([t[base.id] for t in trials if t], axis=0) if any(trials) else []
    made = None if best is None else mine[best].made
    is_now = made or arm
    low, high = _ends(sign, score.low, score.high)
    return ArmReport(
        name=arm.label,
        recipe=arm.name,
        params=is_now.params,
        body_params=is_now.body_params,
        flops_per_token=is_now.flops_per_token,
        tokens=tokens,
        flops=base.training_flops * tokens,
        score=Score(low, high, _turned(sign, score.mean), [_signed(sign, loss) for loss in score.per_seed]),
        rank=list(score.rank) if score.rank else None,
        letters=score.letters,
        candidate=score.candidate,
        finished=score.finished,
        failed=score.failed,
        failure_interval=score.failure_interval,
        learning_rate=float(np.exp(np.mean(np.log(used)))) * arm.rate_scale,
        edge_of_grid=any(edges),
        trials=[None if not math.isfinite(x) else float(x) for x in tried],
        train_tokens_per_s=plan.same.step_tokens / speed.step,
        decode_tokens_per_s=1 / speed.token if speed.token else None,
        seconds=[result.seconds for result in mine],
        peak_bytes=arm.peak_bytes,
        state_bytes=is_now.state_bytes,
        curves=[result.curve for result in mine],
        by_length=mine[0].lengths,
        lengths=[result.lengths for result in mine],
        probes=[result.probes for result in mine],
        status="finished" if score.finished == len(mine) else "failed" if not score.finished else "partly failed",
        runs=[Run(seed, folder) for seed, folder in zip(seeds, folders)],
        model=None if best is None else Run(seeds[best], f"{folders[best]}/model"),
        reasons=sorted({result.reason for result in mine if result.reason}),
        also=[result.also for result in mine],
        exhibits=[] if best is None else mine[best].exhibits,
        model_bytes=is_now.model_bytes,
        base=base.id,
        made=made,
        depths=[result.depths for result in mine],
        groups=[result.groups if result.finished else [] for result in mine],
    )


def _signed(sign: int, loss: float | None) -> float | None:
    return None if loss is None else sign * loss


def _seeds(verdicts: Verdicts) -> SeedsNeeded | None:
    if verdicts.noise is None or not verdicts.margin:
        return None
    needed = seeds_for(verdicts.margin, verdicts.noise)
    return SeedsNeeded(needed.low, needed.high, needed.more_text)
