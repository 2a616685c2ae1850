"""The comparison from request to verdict: plan, bench, tune, train, analyse.

Every arm gets the same tuning trials, then is trained again with fresh seeds; seeds go outermost, so that every arm
has a finished run early. Nothing is decided by the clock: the same request gives the same figures.
"""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from blockyard.compare.plan import plan as planning
from blockyard.compare.plan.dataset import direction
from blockyard.compare.plan.plan import Request, make_job, make_plan, seconds_of
from blockyard.compare.report.format import plural
from blockyard.compare.report.result import Result, assemble
from blockyard.compare.report.terminal import describe_plan
from blockyard.compare.run.job import key_of, read_result
from blockyard.compare.run.pool import Pool
from blockyard.compare.run.progress import Watch, clock
from blockyard.compare.run.store import Store
from blockyard.compare.run.tuning import fit_rates
from blockyard.core.errors import UsageError
from blockyard.core.files import write_whole

BENCH_ROUNDS = 5
Run = tuple[str, int]  # an arm and a seed
Rates = dict[str, tuple[float, bool]]
Trials = dict[str, list[float]]


def compare(
    targets: Sequence[str], *, data: str | Sequence[str] = (), out: str | Path | None = None, dry_run: bool = False,
    quiet: bool = False, overrides: dict[str, Any] | None = None, save_seconds: float = 20.0, **asked: Any,
) -> Result:  # fmt: skip
    """Compare architectures on text: `compare(["llama", "gla"], params="200k", tokens="200k")`.

    targets   NAME, LABEL=NAME or LABEL=NAME:key=value,...        data    files or folders; none: CPython's own texts
    out       the folder of runs, figures and report; one that holds part of the same comparison goes on
    asked     task, params | memory, tokens | flops | minutes, length, batch, device, precision, seeds, margin, tuning,
              against, codec
    """
    return run_arms(
        targets, data=data, out=out, dry_run=dry_run, quiet=quiet, overrides=overrides, save_seconds=save_seconds,
        fewest=2, **asked,
    )  # fmt: skip


def run_arms(
    targets: Sequence[str], *, data: str | Sequence[str] = (), out: str | Path | None = None, dry_run: bool = False,
    quiet: bool = False, overrides: dict[str, Any] | None = None, save_seconds: float = 20.0, fewest: int = 1,
    **asked: Any,
) -> Result:  # fmt: skip
    """`compare` for any number of arms from `fewest` on: one is what `blockyard train` does."""
    watch = Watch(quiet)
    paths = (data,) if isinstance(data, str) else tuple(data)
    given = tuple(sorted((overrides or {}).items()))
    request = Request(tuple(targets), paths, overrides=given, **asked)
    plan = make_plan(request, watch.say)
    if len(targets) < fewest:  # told last: whatever else is wrong with the request is the nearer mistake
        name = targets[0]
        raise UsageError(
            f"there is nothing to compare {name} with; name another architecture, or: blockyard train {name}"
        )
    plan["save_seconds"] = save_seconds
    folder = Path(out or Path("blockyard-out") / folder_name([arm["label"] for arm in plan["arms"]]))
    if dry_run:
        with Pool(plan["same"]["workers"], plan["same"]["threads"]) as pool:
            _measure(plan, pool, watch)
        watch.say(describe_plan(plan))
        return Result({"plan": plan, "estimate_seconds": planning.estimate(plan)})
    store = Store(folder, plan)
    watch.say(describe_plan(store.plan))
    try:
        with Pool(plan["same"]["workers"], plan["same"]["threads"]) as pool:
            if store.fresh:
                _measure(store.plan, pool, watch)
                store.write_plan()
            return _execute(store, pool, watch)
    finally:
        watch.stop()


def folder_name(labels: Sequence[str]) -> str:
    """A name for the folder of these arms: a label is anybody's text, so what could lead elsewhere is replaced."""
    return re.sub(r"[^\w+=.-]+", "_", "-".join(labels[:6]))[:100].lstrip(".") or "_"


def _measure(plan: dict[str, Any], pool: Pool, watch: Watch) -> None:
    """Bench every arm in turns, on all workers at once as in the runs; minutes become tokens here, and only here."""
    watch.say(f"measuring the speed of {plural(len(plan['arms']), 'architecture')} ...")
    plan["steps"] = dict.fromkeys([arm["id"] for arm in plan["arms"]], 1)
    jobs = [make_job(plan, arm, "tune", 0, 1e-4) for arm in plan["arms"]]
    order = {"do": "bench", "jobs": jobs, "rounds": BENCH_ROUNDS}
    found = [answer for _, answer in pool.run([order] * pool.count, lambda *_: None)]
    plan["speed"] = {}
    for i, arm in enumerate(plan["arms"]):
        step = median(s for answer in found for s in answer[i]["step"])
        token = median(s for answer in found for s in answer[i]["token"])
        plan["speed"][arm["id"]] = {"step": step, "token": token}
    plan["steps"] = planning.steps_of(plan, {key: value["step"] for key, value in plan["speed"].items()})
    watch.say(f"about {clock(planning.estimate(plan))} of training on this machine")


def _execute(store: Store, pool: Pool, watch: Watch) -> Result:
    """Look by look: tune and train the seeds of each, and stop at the first look that settles the matter."""
    plan = store.plan
    watch.start(planning.estimate(plan) * plan["same"]["workers"])
    runs: dict[Run, dict[str, Any]] = {}
    tuned: dict[int, tuple[Rates, Trials]] = {}
    rates: dict[Run, tuple[float, bool]] = {}
    done = 0
    for look in plan["looks"]:
        fresh = plan["seeds"][done:look]
        for seed, tuning_seed in zip(fresh, planning.tuning_seeds(plan, fresh)):
            if tuning_seed not in tuned:
                tuned[tuning_seed] = _tuned(store, pool, watch, tuning_seed)
            rates |= {(arm, seed): rate for arm, rate in tuned[tuning_seed][0].items()}
        wanted = [("final", arm, seed, rates[arm["id"], seed][0]) for seed in fresh for arm in plan["arms"]]
        finals = _runs(store, pool, watch, wanted)
        runs |= {(arm["id"], seed): result for (_, arm, seed, _), result in zip(wanted, finals)}
        done = look
        result = assemble(plan, plan["seeds"][:done], runs, rates, [trials for _, trials in tuned.values()])
        if result.settled:
            break
    result.write(store.folder, write_whole)
    return result


def _tuned(store: Store, pool: Pool, watch: Watch, seed: int) -> tuple[Rates, Trials]:
    """The rate of every arm, with whether it lies at the edge of the grid, and the losses of its trials."""
    plan = store.plan
    if plan["tuning"] == "none":
        return {arm["id"]: (planning.RATES[1], False) for arm in plan["arms"]}, {}
    wanted = [("tune", arm, seed, rate) for rate in planning.RATES for arm in plan["arms"]]
    trials: Trials = {}
    for (_, arm, _, _), result in zip(wanted, _runs(store, pool, watch, wanted)):
        trials.setdefault(arm["id"], []).append(result["score"] if result["status"] == "finished" else math.nan)
    turn = direction(plan["metric"])
    return fit_rates(
        planning.RATES, {arm: [turn * score for score in scores] for arm, scores in trials.items()}
    ), trials


def _runs(
    store: Store, pool: Pool, watch: Watch, wanted: list[tuple[str, dict[str, Any], int, float]]
) -> list[dict[str, Any]]:
    """The results of these runs in their order; finished ones are read, the others done."""
    plan = store.plan
    jobs = [make_job(plan, arm, role, seed, rate) for role, arm, seed, rate in wanted]
    keys = [key_of(job) for job in jobs]
    results = [read_result(store.run_folder(key)) for key in keys]
    expected = [seconds_of(plan, arm, role) for role, arm, _, _ in wanted]

    def enter(i: int) -> None:
        role, arm, seed, rate = wanted[i]
        result = results[i]
        assert result is not None
        facts = {"arm": arm["id"], "role": role, "seed": seed, "lr": jobs[i]["lr"]}
        facts |= {name: result.get(name) for name in ("status", "score", "seconds")}
        store.finished(keys[i], facts)
        what = f"failed: {result['reason']}"
        if result["status"] == "finished":
            what = f"{result['score']:.4f} {plan['metric']['unit']}"
        which = f"rate {rate:.3g}" if role == "tune" else f"seed {seed}"
        watch.finished(i, expected[i], f"  {role:5} {arm['label']:18} {which:12} {what}")

    def heard(at: int, message: dict[str, Any]) -> None:
        i = open_runs[at]
        watch.at(i, expected[i] * min(1.0, message["step"] / jobs[i]["steps"]), message)

    open_runs = [i for i, result in enumerate(results) if result is None]
    for i in sorted(set(range(len(wanted))) - set(open_runs)):
        enter(i)
    orders = [{"do": "run", "job": jobs[i], "folder": str(store.run_folder(keys[i]))} for i in open_runs]
    for at, answer in pool.run(orders, heard):
        results[open_runs[at]] = answer
        enter(open_runs[at])
    rows = [
        {"key": key, "arm": arm["id"], "role": role, "seed": seed, "lr": job["lr"], **(result or {})}
        for key, (role, arm, seed, _), job, result in zip(keys, wanted, jobs, results)
    ]
    store.index(rows)
    return [result for result in results if result is not None]
