"""Plans of large arms: counted on few models, measured by a part of each arm and scaled up; runs know nothing of it."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from blockyard import build, spec
from blockyard.cli import main
from blockyard.compare import compare as acts
from blockyard.compare.plan import budget
from blockyard.compare.plan.plan import Request, make_job, make_plan
from blockyard.compare.run import glance as glances
from blockyard.core.spec import Spec
from blockyard.model import count as counts


def numbers(system):
    return sum(p.numel() for p in build(system["model"]).parameters())


@pytest.mark.parametrize("recipe", ["llama", "olmo_hybrid", "mamba2_hybrid", "universal_transformer", "mix_ln"])
def test_shallow_counts_find_the_same_system(recipe, monkeypatch):
    found = budget.solve(recipe, 4e6, {})
    monkeypatch.setattr(budget, "_affine", lambda fixed, layers, granule, exact: exact)
    assert budget.solve(recipe, 4e6, {}) == found


def test_a_deep_arm_is_made_whole_only_to_be_checked(monkeypatch):
    deep, made = [], counts.on_meta
    monkeypatch.setattr(counts, "on_meta", lambda system: deep.append(system) or made(system))
    system = budget.solve("llama", 4e6, {"layers": 32})
    depths = [each["model"]["depth"]["layers"] for each in deep]
    assert system["model"]["depth"]["layers"] == 32 and depths.count(32) == 1 and {*depths} == {1, 2, 32}


def test_what_is_not_affine_in_depth_is_counted_whole(monkeypatch):
    want = budget.solve("llama", 4e6, {})
    monkeypatch.setattr(budget, "_affine", lambda *_: lambda **knobs: 1000 * sum(knobs.values()))
    assert budget.solve("llama", 4e6, {}) == want


def test_a_part_is_scaled_to_the_whole(monkeypatch):
    """Seconds that follow the stated law at every size come out as the law has them for the whole arm."""
    plan = make_plan(Request(("llama", "olmo_hybrid"), params="4M"), lambda _: None)
    jobs = [make_job(short(plan), arm, "tune", 0, 1e-4) for arm in plan.arms]

    def law(job, times=1):
        system = Spec.from_json(job.system)
        rows = times * job.batch
        return 2e-9 * numbers(system) + 3e-11 * counts.training_flops(system, job.length) * job.length * rows

    asked = []
    monkeypatch.setattr(glances, "_seconds", lambda job: asked.append(job) or (law(job), law(job, 2)))
    found = glances.glance(jobs, [glances.Whole(arm.name, arm.training_flops, arm.params) for arm in plan.arms])
    assert found == pytest.approx([law(job) for job in jobs], rel=1e-6)
    assert all(job.batch < plan.same.batch for job in asked)
    assert all(Spec.from_json(job.system)["model"]["depth"]["layers"] in (1, 4) for job in asked)


def short(plan):
    """With a step for every arm, which a job has to have."""
    return replace(plan, steps={arm.id: 1 for arm in plan.arms})


def test_a_depth_that_says_no_layers_keeps_some_of_every_block():
    assert glances.shallow(spec("llama", "tiny"), "llama")["model"]["depth"]["layers"] == 1
    few = build(glances.shallow(spec("mamba2_hybrid", "tiny", layers=12), "mamba2_hybrid"))
    laid = [name for name, _ in few.depth.plan()]
    assert sorted(laid) == ["attention", "mamba", "mlp", "mlp"] and laid[0] == "mamba", "10, 2 and 12 of 24"
    system = spec("albert", "tiny")
    assert glances.shallow(system, "albert") == system, "a program that decides what runs when is not laid anew"


def test_rows_and_twice_as_many_are_measured_in_turns(monkeypatch):
    """The steps of one run see both numbers of rows, the first of them not counted; a slow turn tells nothing."""
    plan = make_plan(Request(("llama",), params="60k"), lambda _: None)
    job, seen, ticks = make_job(short(plan), plan.arms[0], "tune", 0, 1e-4), [], iter(range(10**6))

    def step(run):
        seen.append(len(run.sources[0].next(0)))
        for _ in range(seen[-1] if len(seen) > 2 else 10**4):
            next(ticks)

    monkeypatch.setattr(glances, "step", step)
    monkeypatch.setattr(glances, "time", SimpleNamespace(perf_counter=lambda: next(ticks) / 1e6))
    assert glances._seconds(replace(job, batch=3)) == pytest.approx((4e-6, 7e-6))
    assert seen == [6, *[3, 6] * glances.ROUNDS]


def test_only_what_is_looked_at_is_measured_by_a_part(monkeypatch, capsys, text, tmp_path):
    monkeypatch.setattr(acts, "SOON", 1.0)
    words = ["compare", "llama", "gla", "--data", text, "--params", "60k", "--tokens", "2k", "--length", "32"]
    assert main([*words, "--batch", "8", "--dry-run", "--json"]) == 0
    said = capsys.readouterr()
    plan = json.loads(said.out)["plan"]
    assert plan["measured"] in " ".join(said.err.split()) and plan["measured"]
    assert all(speed["step"] > 0 and speed["token"] is None for speed in plan["speed"].values())
    assert main([*words, "--batch", "8", "--seeds", "2", "--tuning", "none", "--out", str(tmp_path / "o")]) == 0
    assert json.loads((tmp_path / "o" / "plan.json").read_text())["measured"] == ""
