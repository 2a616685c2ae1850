"""The comparison from request to verdict: plan, bench, tune, train, analyse.

Every arm gets the same tuning trials, then is trained again with fresh seeds; seeds go outermost, so that every arm
has a finished run early. Nothing is decided by the clock: the same request gives the same figures.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch

from blockyard.compare.documents import (
    Arm,
    BenchAnswer,
    BenchOrder,
    Job,
    Plan,
    Progress,
    Report,
    RunResult,
    Speed,
    Timings,
)
from blockyard.compare.identity import key_of
from blockyard.compare.judge.tuning import UNTUNED, fit_rates
from blockyard.compare.plan import plan as planning
from blockyard.compare.plan.night import asked, given, spent, tonight
from blockyard.compare.plan.plan import Request, labels, make_job, make_plan, seconds_of
from blockyard.compare.report.format import folder_of, plural
from blockyard.compare.report.result import assemble, settled, write
from blockyard.compare.report.terminal import describe_plan, grown
from blockyard.compare.run.cluster import cluster
from blockyard.compare.run.glance import GlanceAnswer, GlanceOrder, Whole, glance
from blockyard.compare.run.index import Event, Index
from blockyard.compare.run.job import read_result
from blockyard.compare.run.pool import Pool
from blockyard.compare.run.progress import Watch
from blockyard.compare.run.ranks import Ranks
from blockyard.compare.run.store import Store, finished_in, read_plan
from blockyard.compare.split import Night
from blockyard.core.document import Json
from blockyard.core.errors import UsageError, unknown
from blockyard.core.numbers import clock
from blockyard.tracker._told import trackers
from blockyard.train.spread import Together, here

BENCH_ROUNDS = 5
SOON = 100e9  # operations of a measuring by whole steps that a plan waits for
ENGINES = ("processes", "ray")
Run = tuple[str, int]  # an arm and a seed
Rates = dict[str, tuple[float, bool]]
Trials = dict[str, list[float]]
Wanted = tuple[str, Arm, int, float]  # a role, an arm, a seed and a rate


@dataclass(frozen=True)
class How:
    """How a comparison is done, on which no figure depends; the words are those of `compare`."""

    quiet: bool = False
    save_seconds: float = 20.0
    log: str | Sequence[str] = ()
    index: str | None = None
    engine: str = "processes"

    def begun(self) -> tuple[Watch, tuple[str, ...], Index | None]:
        """What shows the progress, the trackers by name, and the table beside; UsageError where one is not there."""
        if self.engine not in ENGINES:
            raise unknown("engine", self.engine, ENGINES)
        return Watch(self.quiet), trackers(self.log) if self.log else (), Index(self.index) if self.index else None


def compare(
    targets: Sequence[str], *, data: str | Sequence[str] = (), out: str | Path | None = None, dry_run: bool = False,
    quiet: bool = False, overrides: dict[str, Any] | None = None, save_seconds: float = 20.0,
    log: str | Sequence[str] = (), index: str | None = None, engine: str = "processes", **asked: Any,
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
    log            trackers that are told of every run as it goes on, as ["tensorboard"]; they keep it below out/logs
    index          the URL of a database that gets a row for every run too, as "sqlite:///runs.db"
    engine         processes of this machine, or ray: of the cluster at RAY_ADDRESS
    asked          task, params | memory, tokens | flops | minutes, length, batch, device, precision, seeds, margin,
                   tuning, against, codec: as the options of `blockyard compare`; besides these rates, those
                   of the tuning at width 64, and reach, the lengths that are scored too in units of that of training;
                   sweep, values by setting: every arm is made with each, {"mixer.heads": (1, 2, 4)}; within, the
                   wall-clock of all of it, "8h": size, seeds and tokens that are not given are chosen for it; ram
    """
    request = request_of(targets, data, overrides, asked)
    how = How(quiet, save_seconds, log, index, engine)
    return run_arms(request, out=out, dry_run=dry_run, how=how, fewest=2)


def train_one(
    target: str | None = None, *, init: str | Path | None = None, data: str | Sequence[str] = (),
    out: str | Path | None = None, dry_run: bool = False,
    quiet: bool = False, overrides: dict[str, Any] | None = None, save_seconds: float = 20.0,
    log: str | Sequence[str] = (), index: str | None = None, **asked: Any,
) -> Report | Plan:  # fmt: skip
    """Train a recipe at its default rate, once: a comparison of one arm. The words are those of `compare`.

    target   the recipe, as `compare` takes it
    init     in its place the folder of a model that goes on: ours, one of transformers, or OUT:ARM. What it is, how
             large, and how it reads text come from there
    data     files or folders; none: the text that every Python carries
    out      the folder of the run; none: one below blockyard-out        dry_run   plan and measure only: a Plan
    quiet    no progress on standard error                               index     of all runs, a file or a database
    overrides, save_seconds, log   settings of parts, seconds between checkpoints, trackers, as `compare` takes them
    asked    also, of a model that goes on: rate, the peak learning rate; adapters, transforms that attach something,
             which alone then learns
    """
    if target is None and init is None:
        raise UsageError("nothing to train: name a recipe, or a model to go on from (init)")
    one = {**asked, "seeds": 1, "tuning": "none"} | ({} if init is None else {"init": str(init)})
    request = request_of([] if target is None else [target], data, overrides, one)
    return run_arms(request, out=out, dry_run=dry_run, how=How(quiet, save_seconds, log, index))


def request_of(
    targets: Sequence[str], data: str | Sequence[str], overrides: dict[str, Any] | None, asked: dict[str, Any]
) -> Request:
    """What `compare` was called with, as one request."""
    paths = (data,) if isinstance(data, str) else tuple(data)
    swept = tuple((setting, tuple(values)) for setting, values in dict(asked.pop("sweep", None) or {}).items())
    return Request(tuple(targets), paths, overrides=tuple(sorted((overrides or {}).items())), sweep=swept, **asked)


def run_arms(
    request: Request, planned: Plan | None = None, *, out: str | Path | None = None, dry_run: bool = False,
    how: How = How(), fewest: int = 1,
) -> Report | Plan:  # fmt: skip
    """What a request asks for, with at least `fewest` arms: the report, or of a dry run the plan.

    planned   what `make_plan` gave of this request, where that was done before
    """
    watch, told, beside = how.begun()
    night, glimpse = None, Glimpses()
    if request.within is not None or request.ram is not None:
        folder = Path(out or Path("blockyard-out") / folder_name(labels(request)))
        night = _tonight(request, folder, watch, glimpse, dry_run)
        request = spent(request, night)
    plan = replace(planned or make_plan(request, watch.say), save_seconds=how.save_seconds, night=night)
    if len(plan.arms) < fewest:  # told last: whatever else is wrong with the request is the nearer mistake
        name = request.targets[0]
        raise UsageError(
            f"there is nothing to compare {name} with; name another architecture, or: blockyard train {name}"
        )
    make = _engine(how.engine, plan.same.device)
    folder = Path(out or Path("blockyard-out") / folder_name([folder_of(arm) for arm in plan.arms]))
    if dry_run:
        plan = _glanced(plan, watch) if night is None else glimpse(plan)
        watch.say(describe_plan(plan))
        return plan
    store = Store(folder, plan, told, beside)
    store.lost = lambda line: watch.once("index", line)
    watch.say(describe_plan(store.plan))
    if store.before is not None:
        watch.say(grown(store.plan))
    try:
        with make(plan.same.workers, plan.same.threads) as pool:
            if store.fresh:
                store.plan = measure_speed(store.plan, pool, watch)
                store.write_plan()
            return _execute(store, pool, watch)
    finally:
        watch.stop()


def _engine(name: str, device: str) -> Callable[[int, int], Any]:
    """What does the runs, made of so many workers with so many threads each."""
    shared = here()
    if isinstance(shared, Together):
        return partial(Ranks, shared)
    return cluster(device) if name == "ray" else Pool


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


class Glimpses:
    """Gives plans the speeds of their arms by a part of each, in this process alone: of runs side by side as if they
    did not disturb. What is asked for again is not measured again."""

    def __init__(self) -> None:
        self.known: dict[str, float] = {}

    def __call__(self, plan: Plan) -> Plan:
        """The plan with the speeds of its arms."""
        return _parts(plan, lambda jobs, wholes: [self._found(plan, jobs, wholes)])

    def _found(self, plan: Plan, jobs: list[Job], wholes: list[Whole]) -> list[float]:
        keys = [key_of(job) for job in jobs]
        new = [i for i, key in enumerate(keys) if key not in self.known]
        threads = torch.get_num_threads()
        torch.set_num_threads(plan.same.threads)
        self.known |= zip([keys[i] for i in new], glance([jobs[i] for i in new], [wholes[i] for i in new]))
        torch.set_num_threads(threads)
        return [self.known[key] for key in keys]


def _tonight(request: Request, folder: Path, watch: Watch, glimpse: Glimpses, dry_run: bool) -> Night:
    """How a time is spent: as the plan of the folder has it, where that was asked the same, else chosen now."""
    if request.within is None:
        raise UsageError("--ram limits what --within chooses; give both, or neither")
    if request.flops is not None or request.minutes is not None:
        raise UsageError("--within says how long all of it takes; leave --flops and --minutes out")
    known = read_plan(folder)
    if known is not None and known.night is not None:
        night = known.night
        if (night.within, night.ram, night.asked) == (request.within, request.ram, asked(request)):
            return night

    def measured(plan: Plan) -> Plan:
        with Pool(plan.same.workers, plan.same.threads) as pool:
            return measure_speed(plan, pool, Watch(quiet=True))

    watch.say(f"looking at what {clock(given(request))} can do ...")
    return tonight(request, glimpse, glimpse if dry_run else measured, watch.say, finished_in(folder.parent))


def _glanced(plan: Plan, watch: Watch) -> Plan:
    """The speeds for a plan that is only looked at: as for runs where that is soon done, else by a part of each arm."""
    arms = [*plan.arms, *plan.bases]
    each = [plan.base(arm).training_flops * plan.same.step_tokens for arm in arms]
    if (BENCH_ROUNDS + 1) * sum(each) < SOON:
        with Pool(plan.same.workers, plan.same.threads) as pool:
            return measure_speed(plan, pool, watch)
    watch.say(f"measuring a part of {plural(len(arms), 'architecture')} ...")
    if plan.same.workers == 1:  # this process is as good as another one, and there already
        return Glimpses()(plan)

    def side_by_side(jobs: list[Job], wholes: list[Whole]) -> list[list[float]]:
        with Pool(plan.same.workers, plan.same.threads) as pool:
            answers = pool.run([GlanceOrder(jobs, wholes)] * pool.count, lambda *_: None)
            return [GlanceAnswer.from_json(answer, "an answer").steps for _, answer in answers]

    return _parts(plan, side_by_side)


def _parts(plan: Plan, measure: Callable[[list[Job], list[Whole]], list[list[float]]]) -> Plan:
    """The plan with the speeds that `measure` finds by a part of each training, once in every worker."""
    arms = [*plan.arms, *plan.bases]
    short = replace(plan, steps=dict.fromkeys([arm.id for arm in arms], 1))
    trained = {arm.id: arm for arm in plan.trained}
    jobs = [make_job(short, arm, "tune", 0, 1e-4) for arm in trained.values()]
    found = measure(jobs, [Whole(arm.name, arm.training_flops, arm.params) for arm in trained.values()])
    steps = dict(zip(trained, (median(of) for of in zip(*found))))
    speed = {arm.id: Speed(steps[plan.base(arm).id], None) for arm in arms}
    plan = replace(plan, speed=speed, measured="few rows through few layers, scaled by counted operations")
    return replace(plan, steps=planning.steps_of(plan, speed))


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
        rate = plan.same.rates[0] if len(plan.same.rates) == 1 else UNTUNED
        return {arm.id: (rate, False) for arm in plan.trained}, {}
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
        if "notice" in message:
            return watch.once(message["of"], message["notice"])
        i, progress = missing[at], Progress.from_json(message, "a message")
        watch.at(i, expected[i] * min(1.0, progress.step / jobs[i].steps), progress.loss, progress.inside)

    missing = [i for i, result in enumerate(results) if result is None]
    for i, result in enumerate(results):
        if result is not None:
            ended(i, result)
    orders = [store.order(jobs[i], keys[i], wanted[i][1]) for i in missing]
    for at, answer in pool.run(orders, heard):
        results[missing[at]] = result = RunResult.from_json(answer, "an answer")
        ended(missing[at], result)
    store.index([events[i] for i in range(len(wanted))])
    return [result for result in results if result is not None]
