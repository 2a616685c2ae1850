"""A night's plan: what fits a time, what it tells apart, which way is recommended; and that it is decided once."""

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from blockyard.cli import main
from blockyard.compare import compare as acts
from blockyard.compare.documents import Plan, Report, Speed
from blockyard.compare.plan import night as nights
from blockyard.compare.plan.plan import Request, estimate, make_plan, steps_of
from blockyard.core.errors import UsageError
from blockyard.core.numbers import WITHIN

PACE = 2e-7  # seconds of a step for every parameter


def look(plan):
    """The speeds of a machine that needs time by parameters alone."""
    speed = {arm.id: Speed(PACE * arm.params, None) for arm in plan.arms}
    return replace(plan, speed=speed, steps=steps_of(plan, speed))


def tonight(within, before=(), arms=("llama", "gla"), **asked):
    request = Request(arms, within=within, **asked)
    return request, nights.tonight(request, look, look, lambda _: None, before)


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """A clock that stands, unless a test lets it go on by so many seconds a look."""
    ticks = {"each": 0.0, "now": 0.0}

    def monotonic():
        ticks["now"] += ticks["each"]
        return ticks["now"]

    monkeypatch.setattr(nights, "time", SimpleNamespace(monotonic=monotonic))
    return ticks


def test_what_the_choice_took_is_gone(clock):
    _, night = tonight("30m", params="300k", seeds=3)
    clock["each"] = 600.0
    _, late = tonight("30m", params="300k", seeds=3)
    assert late.chosen.tokens < 0.75 * night.chosen.tokens and late.chosen.seconds <= 1800
    clock["each"] = 1790.0
    with pytest.raises(UsageError, match="too short"):
        tonight("30m", params="300k", seeds=3)


@pytest.mark.parametrize("words, seconds", [("8h", 28800), ("480m", 28800), ("90s", 90), ("1.5H", 5400)])
def test_times_have_a_unit(words, seconds):
    assert WITHIN(words, "--within") == seconds


@pytest.mark.parametrize("words", ["8", "8 hours", "-3h", "0s", "1e3h", "h", "nan", "99999999h", 3])
def test_what_is_no_time_is_refused(words):
    with pytest.raises(UsageError, match="must be a time with its unit"):
        WITHIN(words, "--within")


def test_what_is_chosen_takes_the_time_and_no_more():
    """The plan that follows is as long as was promised, by the estimate that every plan has."""
    for within in ("30m", "3h"):
        request, night = tonight(within)
        plan = look(make_plan(nights.spent(request, night), lambda _: None))
        assert 0.8 * night.within < estimate(plan) <= night.chosen.seconds <= night.within
        assert plan.matched == {"params": night.chosen.params, "tokens": night.chosen.tokens}
        assert len(plan.seeds) == night.chosen.seeds


def test_the_recommended_size_is_the_largest_that_gets_enough():
    _, night = tonight("3h")
    chosen = night.chosen
    assert chosen.tokens >= nights.EACH * chosen.params
    larger = [split for split in night.others if split.params > chosen.params]
    assert larger and all(split.tokens < nights.EACH * split.params for split in larger)
    more = [split for split in night.others if split.params == chosen.params and split.seeds > chosen.seeds]
    assert all(split.tokens < nights.EACH * split.params for split in more)
    assert sum((split.params, split.seeds) == night.key for split in night.others) == 1
    assert tonight("6h")[1].chosen.params >= chosen.params


def test_what_is_fixed_stays():
    _, night = tonight("1h", params="300k", seeds=4)
    assert {(split.params, split.seeds) for split in night.others} == {(night.chosen.params, 4)}
    assert night.chosen.params == pytest.approx(300e3, rel=0.01)
    request, night = tonight("1h", params="300k", tokens="500k")
    assert night.chosen.tokens == 500e3 and nights.spent(request, night).params == 300e3
    assert len({split.seeds for split in night.others}) > 1


def test_seeds_tell_more_apart_and_what_was_found_counts(done_report):
    _, night = tonight("3h")
    by_seeds = {split.seeds: split for split in night.others if split.params == night.chosen.params}
    told = [by_seeds[seeds].told for seeds in sorted(by_seeds)]
    assert told == sorted(told, reverse=True) and "assumed" in night.noise
    quiet = _with_spread(done_report, 1e-4)
    _, known = tonight("3h", before=[quiet])
    assert known.chosen.told < night.chosen.told / 10 and "1 finished comparison" in known.noise
    other = replace(quiet, metric=replace(quiet.metric, unit="else"))
    assert tonight("3h", before=[other])[1].chosen.told == night.chosen.told, "another metric says nothing of this one"


def _with_spread(report, share):
    """The report with runs that lie this share of their mean apart."""
    arms = [
        replace(arm, score=replace(arm.score, per_seed=[(1 + share * at) * arm.score.mean for at in (-1, 0, 1)]))
        for arm in report.arms
    ]
    return replace(report, arms=arms)


@pytest.fixture
def done_report():
    path = Path(__file__).parent / "old" / "result.json"
    return Report.from_json(json.loads(path.read_text()), path)


def test_too_short_and_too_small_are_refused_with_the_least():
    with pytest.raises(UsageError, match=r"too short.* take about (\d+)m") as told:
        tonight("30s", params="1M")
    least = int(str(told.value).split("about ")[1].removesuffix("m"))
    assert tonight(f"{least}m", params="1M", seeds=3)[1].chosen.tokens >= nights.FEWEST * 2048
    with pytest.raises(UsageError, match="too short"):
        tonight(f"{math.floor(0.8 * least)}m", params="1M")
    with pytest.raises(UsageError, match=r"--ram .*is not enough"):
        tonight("3h", ram="10M")
    free, held = (tonight("6h", **asked)[1] for asked in ({}, {"ram": 3e8}))
    assert held.chosen.peak <= 3e8 and held.chosen.params <= free.chosen.params


def test_a_night_is_decided_once(monkeypatch, capsys, text, tmp_path):
    """The figures stand in the plan: the same command goes on with them, and another time is another plan."""
    chosen = []

    def choose(request, *_):
        chosen.append(request)
        split, why = nights.Split(40e3, 2, 4000.0, 20.0, 0.02, 1e6), "as a test has it"
        return nights.Night(request.within, request.ram, split, [split], why, "known", nights.asked(request))

    monkeypatch.setattr(acts, "tonight", choose)
    words = ["compare", "llama", "gla", "--data", text, "--length", "32", "--batch", "8", "--tuning", "none"]
    words += ["--within", "60s", "--out", str(tmp_path / "o")]
    assert main(words) == 0 and "as a test has it" in capsys.readouterr().err
    plan = Plan.from_json(json.loads((tmp_path / "o" / "plan.json").read_text()), "plan")
    assert plan.matched == {"params": 40e3, "tokens": 4000.0} and len(plan.seeds) == 2 and plan.night.within == 60
    kept = (tmp_path / "o" / "plan.json").read_bytes()
    assert main([*words, "--json"]) == 0 and len(chosen) == 1
    assert (tmp_path / "o" / "plan.json").read_bytes() == kept
    capsys.readouterr()
    for more, says in (
        (["--minutes", "1"], "leave --flops and --minutes out"),
        (["--within", "8"], "a time with its unit"),
    ):
        assert main([*words, *more]) == 2 and says in capsys.readouterr().err
    assert main(["compare", "llama", "gla", "--ram", "1G"]) == 2 and "give both" in capsys.readouterr().err


def test_rows_of_the_table_agree_with_the_one_that_is_chosen():
    """Seconds that bend over the size, as those of small models do: every row of the chosen size follows one speed."""

    def bent(plan):
        speed = {arm.id: Speed(0.02 + PACE * arm.params, None) for arm in plan.arms}
        return replace(plan, speed=speed, steps=steps_of(plan, speed))

    slower = lambda plan: replace(  # noqa: E731
        plan, speed={arm: Speed(1.5 * each.step, None) for arm, each in bent(plan).speed.items()}
    )
    for measure, factor in ((bent, 1.0), (slower, 1.5)):
        request = Request(("llama", "gla"), within="3h")
        night = nights.tonight(request, bent, measure, lambda _: None)
        alike = [each for each in night.others if each.params == night.chosen.params]
        steps = [(4 + each.seeds) * each.tokens for each in alike]
        assert len(alike) > 2 and max(steps) < 1.1 * min(steps), "tokens are rounded down to two digits"
        of_step = 2 * (0.02 + PACE * night.chosen.params) * factor / make_plan(request, lambda _: None).same.workers
        assert night.chosen.seconds == pytest.approx(max(steps) / 2048 * of_step, rel=0.25)
