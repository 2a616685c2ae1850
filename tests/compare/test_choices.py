"""What a user may choose: looks, nested tuning, one baseline, memory for parameters, a task for text."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch

import blockyard
from blockyard.cli import main
from blockyard.compare.documents import Choice, RunResult
from blockyard.compare.judge.curves import along
from blockyard.compare.judge.tuning import RATES, fit_rates
from blockyard.compare.plan.dataset import named
from blockyard.compare.plan.plan import Request, make_plan
from blockyard.compare.report.result import settled
from blockyard.compare.run.job import Scoring, amounts
from blockyard.compare.run.speed import decode_seconds
from blockyard.core.axis import Axis
from blockyard.core.errors import UsageError
from blockyard.task import Examples, errors, make_task

TINY = ["--params", "30k", "--tokens", "2k", "--length", "32", "--batch", "8"]
TASK = ["--task", "mqar:pairs=2,length=16,keys=8,values=8", "--params", "30k", "--tokens", "2k", "--batch", "8"]


@pytest.fixture
def tiny(text):
    """A comparison of nothing much."""
    return [*TINY, "--data", text]


def run(out, *words):
    assert main(["compare", *words, "--out", str(out), "--json"]) == 0
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    return json.loads((out / "result.json").read_text()), events


def test_looks_share_the_error_and_end_when_it_is_settled(tmp_path, monkeypatch, tiny):
    data, events = run(tmp_path / "all", "a=llama", "b=llama", *tiny, "--seeds", "2,3")
    assert data["looks"] == 2 and data["plan"]["looks"] == [2, 3]
    done = len(data["seeds"])
    assert len([e for e in events if e["role"] == "final"]) == 2 * done
    monkeypatch.setattr("blockyard.compare.compare.settled", lambda report: True)
    data, events = run(tmp_path / "first", "a=llama", "b=llama", *tiny, "--seeds", "2,3")
    assert data["seeds"] == [0, 1] and len([e for e in events if e["role"] == "final"]) == 4
    assert "Look 1 of 2" in (tmp_path / "first" / "report.txt").read_text()


def test_a_comparison_is_settled_by_one_candidate_or_by_no_open_pair():
    def made(candidates, pairs):
        return SimpleNamespace(best=list(candidates), pairs=[SimpleNamespace(resolved=r, verdict=v) for r, v in pairs])

    assert settled(made("a", [(True, "better"), (True, "better"), (False, "not resolved")]))
    assert settled(made("ab", [(False, "equivalent"), (True, "better"), (True, "better")]))
    assert not settled(made("ab", [(False, "not resolved"), (True, "better"), (True, "better")]))


def test_nested_tuning_tunes_every_seed_by_itself(tmp_path, tiny):
    data, events = run(tmp_path / "o", "a=llama", "b=llama", *tiny, "--seeds", "2", "--tuning", "nested")
    trials = [(e["arm"], e["seed"]) for e in events if e["role"] == "tune"]
    finals = {(e["arm"], e["seed"]) for e in events if e["role"] == "final"}
    assert len(trials) == 2 * 2 * 4 and len(set(trials)) == 4 and not set(trials) & finals
    arms = {e["arm"] for e in events}
    for seed, tuned in ((0, 50), (1, 51)):
        scores = {arm: [by_rate(events, arm, tuned)[rate] for rate in RATES] for arm in arms}
        for arm, (rate, _) in fit_rates(RATES, scores).items():
            used = next(e["lr"] for e in events if (e["arm"], e["role"], e["seed"]) == (arm, "final", seed))
            factor = next(math.sqrt(64 / a["dim"]) for a in data["plan"]["arms"] if a["id"] == arm)
            assert used == pytest.approx(rate * factor)


def by_rate(events, arm, seed):
    found = sorted((e["lr"], e["score"]) for e in events if (e["arm"], e["role"], e["seed"]) == (arm, "tune", seed))
    return dict(zip(RATES, (score for _, score in found)))


def test_against_judges_every_arm_against_one(tmp_path, tiny):
    words = ["a=llama", "b=llama", "c=llama", *tiny, "--seeds", "2", "--tuning", "none", "--against", "b"]
    data, _ = run(tmp_path / "o", *words)
    assert data["against"] == "b" and len(data["pairs"]) == 2
    assert all("b" in (pair["a"], pair["b"]) for pair in data["pairs"])
    assert "held against b" in (tmp_path / "o" / "report.html").read_text()


def test_memory_in_place_of_parameters():
    plan = make_plan(Request(("llama", "gla"), memory="40MB", length=64))
    assert set(plan.matched) == {"memory", "tokens"}
    assert all(abs(arm.peak_bytes / 40e6 - 1) < 0.02 for arm in plan.arms)
    with pytest.raises(UsageError, match="cannot train in"):
        make_plan(Request(("llama",), memory="10k"))


def test_a_task_is_compared_by_its_errors(tmp_path):
    data, _ = run(tmp_path / "o", "llama", "gla", *TASK, "--seeds", "2")
    assert data["metric"]["name"] == "error" and data["references"]["oracle"] == 0
    assert data["margin"] == data["plan"]["margin"] and data["references"]["chance"] > 0.5
    for arm in data["arms"]:
        assert all(0 <= error <= 1 for error in arm["score"]["per_seed"]) and "16" in arm["by_length"]
    assert "differences in error rate" in (tmp_path / "o" / "report.txt").read_text()
    assert data["plan"]["same"]["length"] == 16


def test_an_exam_counts_every_wrong_answer_once():
    stuff = named(Choice("mqar:pairs=2,length=16,keys=8,values=8", [], None))
    exam = stuff.exam("final", 16)
    tokens, targets = exam.take(slice(0, len(exam))).values()
    task = make_task(stuff.name)
    wrong, asked = errors(task.predictors()["chance"](tokens), (examples := Examples(tokens, targets)))
    assert exam.weights @ exam.groups(wrong) == pytest.approx(wrong.sum() / asked.sum())
    assert stuff.references("final")["oracle"].max() == 0 and len(examples.tokens) == 1013  # 11 came twice
    train = stuff.order(16, 8, seed=0)
    assert (train.next(3)["tokens"] == train.next(3)["tokens"]).all()
    assert (train.next(3)["tokens"] != train.next(4)["tokens"]).any()


def test_scoring_takes_enough_tokens_at_once_and_not_too_many():
    """Of a small batch as many as pay, of a small vocabulary no more than of a large one, and never part of a row."""

    class Watched:
        axes: ClassVar = {"stem.vocab": Axis("vocab", 4)}

        def blind(self, batch):
            return batch

        def __call__(self, batch):
            seen.append(batch.tokens.numel())
            return SimpleNamespace(prediction={"logits": batch.tokens})

    stuff = named(Choice("mqar:pairs=2,length=16,keys=8,values=8", [], None))
    for vocab, most in ((4, 4096), (256, 4096), (1 << 15, 64), (1 << 20, 64)):
        seen, Watched.axes["stem.vocab"] = [], Axis("vocab", vocab)
        exam = stuff.exam("final", 16)
        assert len(amounts(Watched(), lambda said, batch: said["logits"][:, 0], exam, Scoring(4 * 16))) == len(exam)
        assert max(seen) == most


@pytest.mark.parametrize("words,says", [
    (["--task", "mqa"], "mqar"),
    (["--task", "mqar:pears=3"], "pairs"),
    (["--task", "mqar", "--data", "x.txt"], "give one"),
    (["--task", "mqar", "--length", "64"], "set it in --task"),
    (["--params", "1M", "--memory", "1G"], "give one"),
    (["--seeds", "6,3"], "rising"),
    (["--seeds", "three"], "at least 1"),
    (["--seeds", "60", "--tuning", "nested"], "49"),
    (["--against", "lama"], "llama"),
], ids=lambda w: " ".join(w) if isinstance(w, list) else "")  # fmt: skip
def test_a_wrong_choice_is_named(words, says, tmp_path, capsys):
    assert main(["compare", "llama", *words, "--out", str(tmp_path / "o")]) == 2
    said = capsys.readouterr().err
    assert says in said and len(said.splitlines()) <= 2 and not (tmp_path / "o").exists()


def test_what_curves_say():
    tokens = np.geomspace(1e4, 1e6, 20)

    def finished(level, slope, seconds):
        curve = [(int(t), level - slope * math.log(t / 1e6)) for t in tokens]
        return RunResult("", "finished", "", 1, seconds, curve)

    arms = [SimpleNamespace(id=id, label=label) for id, label in (("x", "quick"), ("y", "steep"))]
    plan = SimpleNamespace(arms=arms)
    runs = {("x", s): finished(2.0 + 0.001 * s, 0.10, 100 - s) for s in (0, 1)}
    runs |= {("y", s): finished(2.05 + 0.001 * s, 0.18, 200 + 2 * s) for s in (0, 1)}
    told = along(plan, [0, 1], runs)
    assert told.target.loss == pytest.approx(2.051) and told.target.arms[0].name == "quick"
    # 2 - 0.1 ln(t/1e6) = 2.051, the worst of all runs, at t = e^-0.51 million (seed 0) and e^-0.5 million (seed 1)
    assert told.target.arms[0].tokens == pytest.approx(1e6 * math.exp(-0.505), rel=0.01)
    minutes = told.minutes
    assert minutes.minutes == pytest.approx(99.5 / 60) and minutes.best == ["quick"]
    (ahead, *_), (behind, loss, low, high) = minutes.losses
    assert (ahead, behind) == ("quick", "steep")
    # each run at its own speed: 2.05 + 0.18 ln(200 / 99.5) of seed 0, and of seed 1 with 202 s and 0.001 more
    each = [2.05 + 0.18 * math.log(200 / 99.5), 2.051 + 0.18 * math.log(202 / 99.5)]
    assert (loss, low, high) == pytest.approx((sum(each) / 2, *each), abs=2e-4)
    first = told.target.arms[0]
    assert first.minutes == pytest.approx(first.tokens * 99.5e-6 / 60, rel=0.01)
    close = along(plan, [0, 1], runs | {("y", s): replace(runs["y", s], seconds=104) for s in (0, 1)})
    assert close.minutes is None
    assert told.crossing == [["quick", "steep"]]  # the gap of 0.05 closes at 0.08 per e-fold
    assert along(plan, [0, 1], {key: replace(run, status="failed") for key, run in runs.items()}) is None


@pytest.mark.parametrize("length", [2, 3, 16, 64])
def test_decoding_is_timed_within_what_a_model_can_read(length, monkeypatch):
    """Learned positions end at the length of training, be it short; and a model that says no numbers is timed too."""
    model = blockyard.build("gpt2", "tiny", length=length)
    assert decode_seconds(model, length) > 0
    with torch.no_grad():
        model.stem.table.fill_(math.nan)
    assert decode_seconds(model, length) > 0
