"""Arms that are transforms of a trained model: trained once, shown training data only, scored and judged as others."""

import hashlib
import json
import platform
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import blockyard as by
from blockyard.cli import main
from blockyard.compare.documents import Arm, Plan, RunResult
from blockyard.compare.identity import ASIDE, NUMERICS, key_of, loops
from blockyard.compare.judge.statistics import Table, analyse
from blockyard.compare.plan.after import SHOWN
from blockyard.compare.plan.plan import Request, make_job, make_plan
from blockyard.compare.run.after import become
from blockyard.compare.run.job import read_result
from blockyard.core.errors import UsageError
from blockyard.model.find import find_model
from blockyard.systems import parse_arm
from tests.in_process import InProcess

SMALL = {"params": "60k", "tokens": "4k", "length": 64, "batch": 8, "seeds": 2, "tuning": "none"}
ARMS = ("llama", "llama|rtn:bits=3", "shorter=llama|drop:steps=1|gptq:bits=4")


@pytest.fixture(scope="module", autouse=True)
def here():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("blockyard.compare.compare.Pool", InProcess)
        patch.setattr("blockyard.compare.run.job.by_length", lambda *_: {})
        yield


@pytest.fixture(scope="module")
def done(tmp_path_factory, text):
    out = tmp_path_factory.mktemp("done") / "out"
    report = by.compare(list(ARMS), data=text, out=out, quiet=True, **SMALL)
    return out, report


def test_a_model_is_trained_once_for_all_that_it_becomes(done):
    out, report = done
    runs = [read_result(folder) for folder in (out / "runs").iterdir()]
    assert len(runs) == 2 * 3 and sum(run.made is None for run in runs) == 2
    assert len(list(out.glob("runs/*/log.jsonl"))) == 2  # what training leaves
    base = report.arm("llama")
    for arm in report.arms:
        assert arm.base == base.base and arm.curves == base.curves and arm.seconds == base.seconds
        assert arm.tokens == base.tokens and arm.flops == base.flops and arm.learning_rate == base.learning_rate
        assert arm.finished == 2 and len(set(arm.score.per_seed)) == 2
    assert len({tuple(arm.score.per_seed) for arm in report.arms}) == 3
    assert "are made of the same trained models" in str(report)


def test_what_it_became_is_in_plan_and_report(done):
    out, report = done
    planned, arm, base = report.plan.arm(report.plan.arms[2].id), report.arm("shorter"), report.arm("llama")
    drop, gptq = arm.made.steps
    assert [each.name for each in planned.then] == ["drop", "gptq"] and planned.base == base.base
    assert drop.tokens == gptq.tokens == planned.then[0].tokens == SHOWN
    assert len(drop.covered) == 1 and len(gptq.covered) == len(planned.then[1].covers) and "stem" in gptq.left
    assert arm.params == planned.params < base.params and arm.model_bytes == planned.model_bytes < base.model_bytes / 3
    assert arm.state_bytes["1024"] * len(drop.report["cosine"]) == base.state_bytes["1024"] * (
        len(drop.report["cosine"]) - 1
    )
    model = by.load(find_model(f"{out}:shorter"))
    assert sum(p.numel() * p.element_size() for p in (*model.parameters(), *model.buffers())) == arm.model_bytes
    written = str(report)
    assert "gptq: " in written and f"shown {SHOWN:,} training tokens" in written and "bytes saved" in written
    assert find_model(f"{out}:llama|rtn:bits=3").name == "model"
    page = (out / "report.html").read_text()
    assert "shorter=llama|drop|gptq" in page.replace("&#39;", "'") and "training tokens" in page
    again = json.loads((out / "result.json").read_text())["arms"]
    assert next(a for a in again if a["name"] == "shorter")["made"]["steps"][1]["report"]["packed"] > 0


def test_a_killed_transform_is_done_again_and_nothing_else(done, text, tmp_path):
    out, report = done
    target = next(out / run.folder for run in report.arm("shorter").runs if run.seed == 1)
    before = {path: path.read_bytes() for path in out.glob("runs/*/model/*") if path.is_file()}
    stamps = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/log.jsonl")}
    left = RunResult.from_json(json.loads((target / "result.json").read_text()), "it")
    (target / "result.json").unlink()
    (out / "events.jsonl").write_text("")
    again = by.compare(list(ARMS), data=text, out=out, quiet=True, **SMALL)
    assert [arm.score for arm in again.arms] == [arm.score for arm in report.arms]
    assert {path: path.stat().st_mtime_ns for path in out.glob("runs/*/log.jsonl")} == stamps
    assert {path: path.read_bytes() for path in before} == before
    redone = read_result(target)
    assert replace(redone, made=None) == replace(left, made=None) and redone.made.steps == left.made.steps


def test_the_keys_of_plain_arms_are_what_they_were(text):
    plan = make_plan(Request(ARMS, data=(text,), **SMALL))
    plan = replace(plan, steps=dict.fromkeys([arm.id for arm in plan.arms], 8))
    plain, rounded, other = (make_job(plan, arm, "final", 0, 5e-3) for arm in plan.arms)
    facts = {name: value for name, value in plain.to_json().items() if name not in (*ASIDE, "then", "shown")}
    facts |= {"numerics": NUMERICS, "torch": torch.__version__, "machine": platform.machine(), "loops": loops()}
    assert key_of(plain) == hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    assert rounded.base == plain and other.base == plain and len({key_of(plain), key_of(rounded), key_of(other)}) == 3
    coarser = make_plan(Request(("llama", "llama|rtn:bits=2"), data=(text,), **SMALL)).arms[1]
    assert coarser.id != plan.arms[1].id and coarser.base == plan.arms[1].base
    spelt = make_plan(Request(("llama|rtn:bits=3,group=32",), data=(text,), **SMALL)).arms[0]
    assert spelt.id == plan.arms[1].id  # a default is the same, said or not


def test_what_is_trained_for_an_arm_need_not_be_one(text, tmp_path):
    plan = make_plan(Request(("a=llama|rtn", "b=gla|rtn", "c=llama|rtn:bits=2"), data=(text,), **SMALL))
    assert [arm.label for arm in plan.bases] == ["llama", "gla"] and len(plan.trained) == 2
    assert {plan.base(arm).id for arm in plan.arms} == {arm.id for arm in plan.bases}
    report = by.compare(["a=llama|rtn", "c=llama|rtn:bits=2"], data=text, out=tmp_path / "o", quiet=True, **SMALL)
    assert len(list((tmp_path / "o" / "runs").iterdir())) == 2 * 3 and report.arm("a").base == report.arm("c").base
    assert Plan.from_json(json.loads(json.dumps(plan.to_json())), "it") == plan


def test_equal_arms_have_models_of_their_own(text):
    plan = make_plan(Request(("a=llama|rtn", "b=llama|rtn"), data=(text,), **SMALL))
    assert plan.arms[0].base != plan.arms[1].base and plan.arms[0].hash == plan.arms[1].hash


@pytest.mark.parametrize("arm,says", [
    ("llama|gtpq", "unknown transform 'gtpq'; did you mean gptq?"),
    ("llama|gptq:bit=4", "unknown setting of transform:gptq 'bit'; did you mean bits?"),
    ("llama|gptq:bits=5", "bits=5 must be 2 or 3 or 4 or 8"),
    ("llama|gptq:bits", "'bits' is not key=value"),
    ("llama|", "a | stands before a transform"),
    ("llama|cut", "transform:cut needs steps=..."),
    ("llama|drop:steps=99", "99 of 4 mixers cannot go"),
    ("llama|quantise|gptq", "no projection in full numbers"),
    ("llama|take:axis=steps.0.part.k,index=0", r"steps\.0\.part\.kv"),
    ("llama|rtn:keep=*.dwon", "no part's path matches"),
    ("hgrn2|cut:steps=0", "has a place for each of the steps that share it"),
])  # fmt: skip
def test_a_wrong_transform_is_refused_before_anything_is_trained(arm, says, text):
    with pytest.raises(UsageError, match=says) as error:
        make_plan(Request(("llama", arm), data=(text,), **SMALL))
    assert len(str(error.value).splitlines()) == 1


def test_the_command_line_says_it_in_a_line(text, tmp_path, capsys):
    words = ["compare", "llama", "llama|gtpq", "--data", text, "--out", str(tmp_path / "o")]
    assert main(words) == 2 and not (tmp_path / "o").exists()
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith("blockyard: unknown transform")


def test_arms_are_read_with_their_transforms():
    found = parse_arm("small=llama:heads=2|cut:steps=(0,2)|quantise:keep=(stem,*.down)")
    assert (found.label, found.name, found.overrides) == ("small", "llama", {"heads": 2})
    assert found.then[0]["steps"] == (0, 2) and found.then[1]["keep"] == ("stem", "*.down")
    assert found.then[1]["bits"] == 8  # what was not said stands there too
    assert parse_arm("llama:heads=2|rtn").label == "llama|rtn" and parse_arm("llama").then == ()
    assert parse_arm("llama|cut:steps=3").then[0]["steps"] == (3,)


class Stub:
    """Data whose training rows are known, and which has nothing else to give."""

    def __init__(self):
        self.asked = []

    def order(self, length, batch, seed):
        self.asked.append((length, batch, seed))
        return self

    def next(self, step):
        return np.full((8, 65), step, np.int64)


def test_what_is_shown_are_training_rows_and_so_many(text):
    plan = make_plan(Request(ARMS, data=(text,), **SMALL))
    plan = replace(plan, steps=dict.fromkeys([arm.id for arm in plan.arms], 8))
    jobs = [make_job(plan, plan.arms[2], "final", seed, 5e-3) for seed in (0, 1)]
    stubs = [Stub(), Stub()]
    model = by.build(by.Spec.from_json(jobs[0].system)).eval()
    for job, stub in zip(jobs, stubs):
        _, made = become(model, job, stub, lambda _: None)
        assert [step.tokens for step in made.steps] == [SHOWN, SHOWN]
    (a,), (b,) = (stub.asked for stub in stubs)
    assert a[:2] == (64, 8) and a[2] != b[2] not in (0, 1)


def test_what_failed_in_training_fails_as_what_it_would_have_become(text, tmp_path, monkeypatch):
    from blockyard.compare.run import job as running

    honest = running.train

    def fails(system, model, order, settings, *rest, **own):
        done = honest(system, model, order, settings, *rest, **own)
        return replace(done, status="failed", reason="it broke") if settings.seed % 2 else done

    monkeypatch.setattr(running, "train", fails)
    report = by.compare(["llama", "llama|rtn"], data=text, out=tmp_path / "o", quiet=True, **SMALL)
    a, b = report.arm("llama"), report.arm("llama|rtn")
    assert a.failed == b.failed
    if a.failed:
        assert b.reasons == ["what it is made from failed: it broke"]


def test_what_cannot_be_made_of_these_numbers_fails_alone(text, tmp_path, monkeypatch):
    from blockyard.compare.run import job as running

    honest = running.become

    def become(model, job, *given):
        if job.seed == 1:
            raise UsageError("too alike")
        return honest(model, job, *given)

    monkeypatch.setattr(running, "become", become)
    report = by.compare(["llama", "llama|rtn"], data=text, out=tmp_path / "o", quiet=True, **SMALL)
    assert report.arm("llama").finished == 2
    assert (report.arm("llama|rtn").finished, report.arm("llama|rtn").reasons) == (1, ["too alike"])


def table(bases, gap=0.01, spread=0.2, seeds=4):
    """Two arms whose runs share what the seed does, and differ by little."""
    draw = np.random.default_rng(0)
    weights, losses = np.ones(1), {}
    for seed in range(seeds):
        start = 2 + spread * draw.normal()
        losses["a", seed] = np.array([start + 0.001 * draw.normal()])
        losses["b", seed] = np.array([start + gap + 0.001 * draw.normal()])
    return Table(["a", "b"], list(range(seeds)), losses, weights, bases=bases)


def test_arms_of_one_base_are_judged_seed_by_seed():
    paired, apart = analyse(table({"a": "x", "b": "x"})), analyse(table({"a": "x", "b": "y"}))
    assert paired.pair("a", "b").resolved and not apart.pair("a", "b").resolved
    assert apart.pairs == analyse(table({})).pairs
    assert paired.pair("a", "b").difference == apart.pair("a", "b").difference


def test_pairs_of_one_base_rarely_err():
    """No difference but noise of each transform: as often called one as the level says."""
    wrong, many = 0, 300
    for trial in range(many):
        draw = np.random.default_rng(trial)
        start = {seed: draw.normal() for seed in range(3)}
        losses = {(arm, seed): np.array([start[seed] + 0.01 * draw.normal()]) for arm in "abc" for seed in start}
        verdicts = analyse(Table(list("abc"), [0, 1, 2], losses, np.ones(1), bases=dict.fromkeys("abc", "x")))
        wrong += any(pair.resolved for pair in verdicts.pairs)
    assert wrong / many < 0.08


def test_an_arm_of_before_has_no_transform():
    from blockyard.compare.run.store import read_plan

    plan = read_plan(Path(__file__).parent / "old")
    assert all(isinstance(arm, Arm) and arm.then == [] and plan.base(arm) is arm for arm in plan.arms)
    assert plan.trained == plan.arms
