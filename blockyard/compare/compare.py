"""The comparison from request to verdict: plan, bench, tune, train, analyse.

Every arm gets the same tuning trials, then is trained again with fresh seeds; seeds go outermost, so that every arm
has a finished run early. Nothing is decided by the clock: the same request gives the same figures.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from blockyard.compare.documents import (
    Arm,
    BenchAnswer,
    BenchOrder,
    Plan,
    Progress,
    Report,
    RunOrder,
    RunResult,
    Speed,
    Timings,
)
from blockyard.compare.identity import key_of
from blockyard.compare.judge.tuning import UNTUNED, fit_rates
from blockyard.compare.plan import plan as planning
from blockyard.compare.plan.plan import Request, make_job, make_plan, seconds_of
from blockyard.compare.report.format import plural
from blockyard.compare.report.result import assemble, settled, write
from blockyard.compare.report.terminal import describe_plan, grown
from blockyard.compare.run.job import read_result
from blockyard.compare.run.pool import Pool
from blockyard.compare.run.progress import Watch
from blockyard.compare.run.store import Event, Store
from blockyard.core.document import Json
from blockyard.core.errors import UsageError
from blockyard.core.numbers import clock

BENCH_ROUNDS = 5
Run = tuple[str, int]  # an arm and a seed
Rates = dict[str, tuple[float, bool]]
Trials = dict[str, list[float]]
Wanted = tuple[str, Arm, int, float]  # a role, an arm, a seed and a rate


def compare(
    targets: Sequence[str], *, data: str | Sequence[str] = (), out: str | Path | None = None, dry_run: bool = False,
    quiet: bool = False, overrides: dict[str, Any] | None = None, save_seconds: float = 20.0, **asked: Any,
) -> Report | Plan:  # fmt: skip
    """Compare architectures on text: `compare(["llama", "gla"], params="200k", tokens="200k")`.

    targets        NAME, LABEL=NAME or LABEL=NAME:key=value,...; with |TRANSFORM:key=value,... what that becomes once
                   it is trained
    data           files or folders; none: CPython's own texts
    out            the folder of runs, figures and report; one that holds part of the same comparison goes on, and one
                   with other arms, seeds, margin or budget grows: finished runs are not repeated
    dry_run        plan and measure only: the answer is a Plan
    quiet          no progress on standard error
    overrides      settings of all arms, as {"mixer.heads": 4}
    save_seconds   how often a run writes what it needs to go on
    asked          task, params | memory, tokens | flops | minutes, length, batch, device, precision, seeds, margin,
                   tuning, against, codec: as the options of `blockyard compare`; besides these rates, those
                   of the tuning at width 64, and reach, the lengths that are scored too in units of that of training;
                   sweep, values by setting: every arm is made with each, {"mixer.heads": (1, 2, 4)}
    """
    request = _request(targets, data, overrides, asked)
    return run_arms(request, out=out, dry_run=dry_run, quiet=quiet, save_seconds=save_seconds, fewest=2)


def train_one(
    target: str, *, data: str | Sequence[str] = (), out: str | Path | None = None, dry_run: bool = False,
    quiet: bool = False, overrides: dict[str, Any] | None = None, **asked: Any,
) -> Report | Plan:  # fmt: skip
    """Train a recipe at its default rate, once: a comparison of one arm."""
    request = _request([target], data, overrides, {**asked, "seeds": 1, "tuning": "none"})
    return run_arms(request, out=out, dry_run=dry_run, quiet=quiet)


def _request(
    targets: Sequence[str], data: str | Sequence[str], overrides: dict[str, Any] | None, asked: dict[str, Any]
) -> Request:
    paths = (data,) if isinstance(data, str) else tuple(data)
    swept = tuple((setting, tuple(values)) for setting, values in dict(asked.pop("sweep", None) or {}).items())
    return Request(tuple(targets), paths, overrides=tuple(sorted((overrides or {}).items())), sweep=swept, **asked)


def run_arms(
    request: Request, *, out: str | Path | None = None, dry_run: bool = False, quiet: bool = False,
    save_seconds: float = 20.0, fewest: int = 1,
) -> Report | Plan:  # fmt: skip
    """What a request asks for, with at least `fewest` arms: the report, or of a dry run the plan."""
    watch = Watch(quiet)
    plan = replace(make_plan(request, watch.say), save_seconds=save_seconds)
    if len(plan.arms) < fewest:  # told last: whatever else is wrong with the request is the nearer mistake
        name = request.targets[0]
        raise UsageError(
            f"there is nothing to compare {name} with; name another architecture, or: blockyard train {name}"
        )
    folder = Path(out or Path("blockyard-out") / folder_name([arm.label for arm in plan.arms]))
    if dry_run:
        with Pool(plan.same.workers, plan.same.threads) as pool:
            plan = measure_speed(plan, pool, watch)
        watch.say(describe_plan(plan))
        return plan
    store = Store(folder, plan)
    watch.say(describe_plan(store.plan))
    if store.before is not None:
        watch.say(grown(store.plan))
    try:
        with Pool(plan.same.workers, plan.same.threads) as pool:
            if store.fresh:
                store.plan = measure_speed(store.plan, pool, watch)
                store.write_plan()
            return _execute(store, pool, watch)
    finally:
        watch.stop()


def folder_name(labels: Sequence[str]) -> str:
    """A name for the folder of these arms: a label is anybody's text, so what could lead elsewhere is replaced."""
    return re.sub(r"[^\w+=.-]+", "_", "-".join(labels[:6]))[:100].lstrip(".") or "_"


def measure_speed(plan: Plan, pool: Pool, watch: Watch) -> Plan:
    """Bench every arm in turns, on all workers at once as in the runs; minutes become tokens here, and only here."""
    watch.say(f"measuring the speed of {plural(len(plan.arms), 'architecture')} ...")
    arms = [*plan.arms, *plan.bases]
    short = replace(plan, steps=dict.fromkeys([arm.id for arm in arms], 1))
    order = BenchOrder([make_job(short, arm, "tune", 0, 1e-4) for arm in arms], BENCH_ROUNDS)
    answers = pool.run([order] * pool.count, lambda *_: None)
    found = [BenchAnswer.from_json(answer, "an answer").timings for _, answer in answers]
    speed = {arm.id: Speed(_median(found, i, "step") or 0.0, _median(found, i, "token")) for i, arm in enumerate(arms)}
    plan = replace(plan, speed=speed, steps=planning.steps_of(plan, speed) | plan.steps)
    watch.say(f"about {clock(planning.estimate(plan))} of training on this machine")
    return plan


def _median(found: Sequence[list[Timings]], arm: int, what: str) -> float | None:
    """The median of what all workers measured of an arm; None where there was nothing to measure."""
    seconds = [each for timings in found for each in getattr(timings[arm], what)]
    return median(seconds) if seconds else None


def _execute(store: Store, pool: Pool, watch: Watch) -> Report:
    """Look by look: tune and train the seeds of each, and stop at the first look that settles the matter."""
    plan = store.plan
    watch.start(planning.estimate(plan) * plan.same.workers)
    runs: dict[Run, RunResult] = {}
    tuned: dict[int, tuple[Rates, Trials]] = {}
    rates: dict[Run, tuple[float, bool]] = {}
    done, report = 0, None
    for look in plan.looks:
        fresh = plan.seeds[done:look]
        for seed, tuning_seed in zip(fresh, planning.tuning_seeds(plan, fresh)):
            if tuning_seed not in tuned:
                tuned[tuning_seed] = _tuned(store, pool, watch, tuning_seed)
            found = tuned[tuning_seed][0]
            rates |= {(arm.id, seed): found[plan.base(arm).id] for arm in (*plan.arms, *plan.bases)}
        for arms in (plan.trained, [arm for arm in plan.arms if arm.then]):  # what is made of others comes after them
            wanted = [("final", arm, seed, rates[arm.id, seed][0]) for seed in fresh for arm in arms]
            finals = run_all(store, pool, watch, wanted)
            runs |= {(arm.id, seed): result for (_, arm, seed, _), result in zip(wanted, finals)}
        done = look
        mine = {(arm.id, seed): runs[arm.id, seed] for arm in plan.arms for seed in plan.seeds[:done]}
        report = assemble(store.plan, plan.seeds[:done], mine, rates, [trials for _, trials in tuned.values()])
        if settled(report):
            break
    assert report is not None
    return write(report, store.folder)


def _tuned(store: Store, pool: Pool, watch: Watch, seed: int) -> tuple[Rates, Trials]:
    """The rate of every arm, with whether it lies at the edge of the grid, and the losses of its trials."""
    plan = store.plan
    if plan.tuning == "none":
        return {arm.id: (UNTUNED, False) for arm in plan.trained}, {}
    rates = plan.same.rates
    wanted: list[Wanted] = [("tune", arm, seed, rate) for rate in rates for arm in plan.trained]
    trials: Trials = {}
    for (_, arm, _, _), result in zip(wanted, run_all(store, pool, watch, wanted)):
        score = result.score if result.finished and result.score is not None else math.nan
        trials.setdefault(arm.id, []).append(score)
    losses = {arm: [plan.metric.sign * score for score in scores] for arm, scores in trials.items()}
    found = fit_rates(rates, losses) | plan.tuned.get(str(seed), {})  # an arm keeps the rate that it was trained at
    store.tuned(seed, found)
    return found, trials


def run_all(store: Store, pool: Pool, watch: Watch, wanted: Sequence[Wanted]) -> list[RunResult]:
    """The results of these runs in their order; finished ones are read, the others done."""
    plan = store.plan
    jobs = [make_job(plan, arm, role, seed, rate) for role, arm, seed, rate in wanted]
    keys = [key_of(job) for job in jobs]
    results = [read_result(store.run_folder(key)) for key in keys]
    expected = [seconds_of(plan, arm, role) for role, arm, _, _ in wanted]
    events: dict[int, Event] = {}

    def ended(i: int, result: RunResult) -> None:
        role, arm, seed, rate = wanted[i]
        end = (result.status, result.score, result.seconds)
        events[i] = Event(keys[i], arm.id, role, seed, jobs[i].lr, *end)
        store.finished(events[i])
        what = f"{result.score:.4f} {plan.metric.unit}" if result.finished else f"failed: {result.reason}"
        which = f"rate {rate:.3g}" if role == "tune" else f"seed {seed}"
        watch.finished(i, expected[i], f"  {role:5} {arm.label:18} {which:12} {what}")

    def heard(at: int, message: Json) -> None:
        i, progress = missing[at], Progress.from_json(message, "a message")
        watch.at(i, expected[i] * min(1.0, progress.step / jobs[i].steps), progress.loss, progress.inside)

    missing = [i for i, result in enumerate(results) if result is None]
    for i, result in enumerate(results):
        if result is not None:
            ended(i, result)
    orders = [RunOrder(jobs[i], str(store.run_folder(keys[i]))) for i in missing]
    for at, answer in pool.run(orders, heard):
        results[missing[at]] = result = RunResult.from_json(answer, "an answer")
        ended(missing[at], result)
    store.index([events[i] for i in range(len(wanted))])
    return [result for result in results if result is not None]
