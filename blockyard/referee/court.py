"""What the runs of a referee are made with: the folder of a comparison whose plan gets an arm more for every change.

Runs are planned by make_plan, named by their keys and kept in a Store, all as a comparison does it, so that a run that
is there is never repeated. The `tune` role scores them on the tune split; the test split is left for the end.
"""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

from blockyard.compare.compare import run_all
from blockyard.compare.documents import Arm, Plan, RunResult
from blockyard.compare.judge.tuning import fit_rates
from blockyard.compare.plan.plan import Request, make_plan, steps_of
from blockyard.compare.run.pool import Pool
from blockyard.compare.run.progress import Watch
from blockyard.compare.run.store import Event, Store, read_plan
from blockyard.core.errors import UsageError


@dataclass(frozen=True)
class Court:
    """What runs are made with."""

    store: Store
    pool: Pool
    watch: Watch

    def runs(self, role: str, *wanted: tuple[str, int, float]) -> list[RunResult]:
        """The runs of arms (by id) at seeds and rates, in their order."""
        arms = {arm.id: arm for arm in self.store.plan.arms}
        jobs = [(role, arms[arm], seed, rate) for arm, seed, rate in wanted]
        return run_all(self.store, self.pool, Watch(quiet=True), jobs)

    def rate(self, arm: str) -> float:
        """The rate that the usual trials find for an arm."""
        plan = self.store.plan
        trials = self.runs("tune", *((arm, plan.tuning_seed, rate) for rate in plan.same.rates))
        losses = [
            plan.metric.sign * run.score if run.finished and run.score is not None else math.nan for run in trials
        ]
        return fit_rates(plan.same.rates, {arm: losses})[arm][0]


def known_plan(folder: Path) -> Plan:
    """The plan that init left in a folder."""
    plan = read_plan(folder)
    if plan is None:
        raise UsageError(f"{folder} is damaged: plan.json is missing; begin again with another --out")
    return plan


def planned(folder: Path, target: str) -> Plan:
    """What a comparison would plan for one more arm of this folder."""
    known = known_plan(folder)
    same, data, size = known.same, known.data, known.matched
    return make_plan(
        Request(
            (target,), tuple(data.paths), task=data.task, codec=data.codec or "bytes", length=same.length,
            batch=same.batch, device=same.device, precision=same.precision, seeds=1, tuning=known.tuning,
            params=size.get("params"), memory=size.get("memory"), tokens=size.get("tokens"), flops=size.get("flops"),
        ),
        lambda _: None,
    )  # fmt: skip


def opened(folder: Path, known: Plan, fresh: Plan) -> Store:
    """The folder, locked; UsageError where the data or what computes them are no longer those of init."""
    same = replace(known.same, workers=fresh.same.workers)
    store = Store(folder, replace(known, data=fresh.data, versions=fresh.versions, same=same))
    path = folder / "events.jsonl"
    whole = path.read_bytes().rpartition(b"\n")[0] if path.exists() else b""
    store.index([Event.from_json(json.loads(line), path) for line in whole.splitlines()])
    return store


def enter(store: Store, arm: Arm) -> None:
    """The plan of the folder with this arm, whose runs take as long as the first baseline's."""
    plan = store.plan
    if arm.id in {each.id for each in plan.arms}:
        return
    wider = replace(plan, arms=[*plan.arms, arm], speed=plan.speed | {arm.id: plan.speed[plan.arms[0].id]})
    store.plan = replace(wider, steps=steps_of(wider, wider.speed) | plan.steps)
    store.write_plan()
