"""Arms with an optimiser and a schedule of their own: the grid that each is tuned on, what a plan and a page say."""

import math

import pytest

import blockyard as by
from blockyard.compare.documents import Plan
from blockyard.compare.identity import key_of
from blockyard.compare.plan.plan import Request, make_job, make_plan
from blockyard.compare.report.page import held_equal, target
from blockyard.compare.report.terminal import describe_plan
from blockyard.compare.report.text import _optimisers

TARGETS = (
    "llama", "llama@muon", "llama@adafactor", "a=llama@adamw", "b=llama@adamw:schedule=cosine",
    "llama@adamw:schedule=wsd", "llama@sgd:momentum=0.5,schedule=linear",
)  # fmt: skip


@pytest.fixture(scope="module")
def plan():
    made = make_plan(Request(TARGETS, params="60k", tokens="100k"), told=lambda _: None)
    made.steps.update({arm.id: 10 for arm in made.arms})
    return Plan.from_json(made.to_json(), "a plan")


def test_every_optimiser_is_tuned_on_a_grid_of_its_own(plan):
    """As many trials for each, from rates that are the plan's times what the optimiser's file says."""
    plain = plan.arms[0]
    for arm, factor in zip(plan.arms, (1, 4, 4, 1, 1, 1, 1)):
        for rate in plan.same.rates:
            assert make_job(plan, arm, "tune", 99, rate).lr == rate * (factor * math.sqrt(64 / arm.dim)), arm.label
    assert make_job(plan, plain, "tune", 99, 5e-3).lr == 5e-3 * math.sqrt(64 / plain.dim)  # to the bit, as ever
    assert "; times 4 for llama@muon; times 4 for llama@adafactor" in dict(held_equal(plan))["tuning"]


def test_a_schedule_is_part_of_a_system_only_where_it_is_another(plan):
    plain, muon, _, a, b, wsd, linear = plan.arms
    assert plain.system["settings"].keys() == {"model", "program"}
    assert a.hash == b.hash and [arm.system["settings"].get("schedule") for arm in (a, b)] == [None, None]
    assert (wsd.system["settings"]["schedule"], linear.system["settings"]["schedule"]) == ("wsd", "linear")
    keys = {key_of(make_job(plan, arm, "final", 0, 5e-3)) for arm in (plain, muon, a, wsd, linear)}
    assert len(keys) == 5
    assert [target(arm) for arm in plan.arms] == [
        "llama", "llama@muon", "llama@adafactor", "a=llama@adamw", "b=llama@adamw", "llama@adamw:schedule=wsd",
        "llama@sgd:momentum=0.5,schedule=linear",
    ]  # fmt: skip
    with pytest.raises(by.UsageError, match="unknown schedule 'wsdd'; did you mean wsd"):
        make_plan(Request(("llama@adamw:schedule=wsdd",)), told=lambda _: None)


def test_what_optimisers_keep_is_counted_and_said(plan):
    plain, muon, adafactor, a, *_, sgd = plan.arms
    assert plain.optimiser_bytes == a.optimiser_bytes == 8 * plain.params and sgd.optimiser_bytes == 4 * sgd.params
    assert 4 * muon.params < muon.optimiser_bytes < 8 * muon.params
    assert adafactor.optimiser_bytes < muon.optimiser_bytes
    assert plain.peak_bytes - sgd.peak_bytes == 4 * plain.params
    (said,) = _optimisers(plan)
    assert said.startswith("Optimisers differ. Bytes kept for each parameter: llama 8, llama@muon ")
    assert said.endswith("llama@adamw:schedule=wsd 8, llama@sgd:momentum=0.5,schedule=linear 4.")
    words = " ".join(describe_plan(plan).split())
    assert "optimiser AdamW(0.9, 0.95); llama@muon by muon; " in words and "schedule cosine; " in words
    assert dict(held_equal(plan))["schedule"].startswith("cosine; llama@adamw:schedule=wsd by wsd; llama@sgd")


def test_arms_of_one_optimiser_are_told_nothing_of_it():
    made = make_plan(Request(("llama", "gla"), params="60k", tokens="100k"), told=lambda _: None)
    assert _optimisers(made) == []
    assert dict(held_equal(made))["optimiser"] == "AdamW(0.9, 0.95)" and "times" not in dict(held_equal(made))["tuning"]


def test_a_comparison_of_optimisers(tmp_path, text):
    """From end to end: each arm is tuned on its own rates, and the page says what its optimiser keeps."""
    report = by.compare(
        ["llama", "llama@muon:schedule=wsd"], data=text, out=tmp_path, params="60k", tokens="6k", length=32, batch=8,
        seeds=2, rates=(5e-3, 1e-2, 2e-2), quiet=True,
    )  # fmt: skip
    used = {arm.name: arm.learning_rate for arm in report.arms}
    widths = {arm.label: arm.dim for arm in report.plan.arms}
    for name, factor in (("llama", 1), ("llama@muon:schedule=wsd", 4)):
        unit = factor * math.sqrt(64 / widths[name])
        assert 5e-3 * unit <= used[name] * 1.0001 and used[name] <= 2.0001e-2 * unit
    page = (tmp_path / "report.html").read_text()
    assert "Optimisers differ. Bytes kept for each parameter: llama 8" in page and "a step took, when measured" in page
    assert "Optimisers differ." in (tmp_path / "report.txt").read_text()
