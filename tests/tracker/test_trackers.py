"""Trackers are told of every run, change nothing of it, keep each point once, and are read back by `judge`."""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import blockyard as by
from blockyard.cli import main
from blockyard.compare import kept
from blockyard.compare.run.pool import Pool
from blockyard.core import registry
from blockyard.core.errors import UsageError
from blockyard.runs import read_rows
from blockyard.tracker import _told as told
from blockyard.tracker._base import About, Tracker
from blockyard.train.loop import Settings, train

SPEC = by.spec("gla", "tiny")
ALL = sorted(registry.entries("tracker"))
PACKAGES = {name: registry.find("tracker", name).constant("package") for name in ALL}
THERE = [name for name, package in PACKAGES.items() if package is None or find_spec(package)]
SMALL = ["--params", "40k", "--tokens", "4k", "--length", "32", "--batch", "4", "--seeds", "3", "--tuning", "none"]


def there(name):
    if PACKAGES[name] is not None:
        pytest.importorskip(PACKAGES[name])


def about(folder, arm="a b/c", role="final", seed=3):
    return About(str(folder), "a group", "k" * 16, arm, role, seed, 1e-3, {"params": 40_000, "recipe": "gla"})


# Told in a process of its own: some trackers read their folder once, when they are imported.
TELL = """
import json, sys
from blockyard.tracker._base import About
from blockyard.tracker._told import Told
name, folder, *tellings = sys.argv[1:]
for telling in tellings:
    said = json.loads(telling)
    told = Told([name], About.from_json(said["about"], "test"), lambda *lost: print(*lost, file=sys.stderr))
    told.begin()
    for step, figures in said["points"]:
        told.point(step, figures)
    if "end" in said:
        told.end(*said["end"])
    elif said.get("die"):
        import os, time
        time.sleep(1.0)
        os._exit(9)
"""


def tell(name, folder, *tellings):
    words = [json.dumps({"about": about(folder).to_json()} | each) for each in tellings]
    return subprocess.run([sys.executable, "-P", "-c", TELL, name, str(folder), *words], capture_output=True, text=True)


POINTS = [(step, {"loss": 5 - step / 7, "rate": 1e-3 / step, "depth/steps.0.part/stream": 0.1}) for step in range(1, 6)]


def figures(folder):
    """What was kept, by run and step."""
    found, columns = {}, {"loss", "rate", "depth/steps.0.part/stream", "score", "score_tuning"}
    rows = read_rows(folder)
    for row, place in zip(rows.rows, rows.places):
        at = row.get("run_name") or row["folder"], row["step"]
        assert at not in found, place
        found[at] = {k: v for k, v in row.items() if k in columns}
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_what_a_run_tells_is_kept_once_to_the_last_digit(name, tmp_path):
    """Killed behind three points and taken up from the first, as it is told of a run that goes on."""
    there(name)
    cut = tell(name, tmp_path, {"points": POINTS[:3], "die": True})
    assert cut.returncode == 9 and not cut.stderr, cut.stderr
    other = {"points": POINTS[:2], "end": [2, {"score_tuning": 9.0}], "about": about(tmp_path, role="tune").to_json()}
    done = tell(name, tmp_path, {"points": POINTS, "end": [5, {"score": 1 / 3, "also/x": None}]}, other)
    assert done.returncode == 0 and not done.stderr, done.stderr
    found = figures(tmp_path / name)
    (run,) = {run for run, _ in found if (run, 5) in found}
    assert {step: row for (of, step), row in found.items() if of == run} == {
        step: said | ({"score": 1 / 3} if step == 5 else {}) for step, said in POINTS
    }
    assert len(found) == 7 and [row["score_tuning"] for row in found.values() if "score_tuning" in row] == [9.0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_a_run_that_failed_is_a_failure_when_it_is_judged(name, tmp_path):
    there(name)
    runs = []
    for arm, level in (("a", 1.0), ("b", 2.0)):
        for seed in range(3):
            failed = (arm, seed) == ("b", 2)
            end = [2, {}, "the loss was nan"] if failed else [2, {"score": level + seed / 50}]
            runs.append({"about": about(tmp_path, arm, seed=seed).to_json(), "points": POINTS[:2], "end": end})
    assert not tell(name, tmp_path, *runs).stderr
    found = by.judge(str(tmp_path / name), score="score", better="lower")
    assert {arm.name: (arm.finished, arm.failed) for arm in found.arms} == {"a": (3, 0), "b": (2, 1)}
    assert found.best == ["a"]


class Noise:
    """Batches that are a function of the step."""

    def next(self, step):
        return np.random.default_rng(step).integers(0, 64, (4, 17))


class Interrupt(BaseException):
    pass


def test_who_follows_a_run_hears_its_log_and_changes_nothing(tmp_path):
    settings = Settings(steps=12, lr=3e-3, log_every=3, save_seconds=0.0)
    plain = by.build(SPEC)
    alone = train(SPEC, plain, Noise(), settings)
    first, second = [], []

    def stops(line):
        first.append(line)
        if line.step == 9:
            raise Interrupt

    with pytest.raises(Interrupt):
        train(SPEC, by.build(SPEC), Noise(), settings, tmp_path, follow=stops)
    again = by.build(SPEC)
    done = train(SPEC, again, Noise(), settings, tmp_path, follow=second.append)
    assert [line.step for line in first] == [3, 6, 9] and [line.step for line in second] == [3, 6, 9, 12]
    assert second[:2] == first[:2]  # of the part before the checkpoint, which stands at 6
    assert tuple((line.step, line.loss) for line in second) == done.curve == alone.curve
    kept = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["rate"] for line in kept] == [line.rate for line in second] and second[0].rate > second[-1].rate > 0
    assert all(torch.equal(p, q) for p, q in zip(plain.parameters(), again.parameters()))


def test_the_time_of_who_follows_is_none_of_the_run_s():
    done = train(SPEC, by.build(SPEC), Noise(), Settings(steps=2, lr=1e-3, log_every=1), follow=lambda _: time.sleep(1))
    assert done.seconds < 1.5


class Broken(Tracker):
    """Hears two points, and its end twice."""

    heard: list = []

    def __init__(self, about):
        self.heard.append("begin")

    def point(self, step, figures):
        print("nobody reads this")
        self.heard.append((step, figures))
        if step == 2:
            raise OSError("disk full\nand more")

    def end(self, step, figures, failed):
        self.heard.append("end")


def test_a_tracker_that_fails_is_told_of_once_and_the_run_goes_on(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(registry, "find", lambda *_: SimpleNamespace(load_named=lambda: Broken))
    lost, Broken.heard = [], []
    run = told.Told(["broken"], about(tmp_path), lambda *words: lost.append(words))
    assert not Broken.heard
    run.begin()
    for step in range(4):
        run.point(step, {"loss": 1.0, "none": None})
    run.end(4, {})
    assert Broken.heard == ["begin", *((step, {"loss": 1.0}) for step in range(3))]
    assert lost == [("broken", "tracker:broken failed and hears no more of this run: OSError: disk full")]
    assert not capsys.readouterr().out


@pytest.mark.parametrize("words, says", [
    ("tensorbord", "did you mean tensorboard"),
    ("tensorboard,,", "--log names trackers, with commas: lines,mlflow,tensorboard,trackio,wandb"),
])  # fmt: skip
def test_what_is_no_tracker_is_refused_before_any_work(words, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["compare", "llama", "gla", "--log", words]) == 2
    assert says in capsys.readouterr().err and not any(tmp_path.iterdir())


def test_a_tracker_whose_library_is_not_there_is_refused_in_a_line(monkeypatch):
    systems = importlib.import_module("blockyard.systems")
    monkeypatch.setattr(systems, "find_spec", lambda name: None)
    for name in [name for name, package in PACKAGES.items() if package is not None]:
        extra = registry.find("tracker", name).constant("extra")
        with pytest.raises(UsageError, match=rf"tracker:{name} needs a library: pip install 'blockyard\[{extra}\]'"):
            told.trackers(name)
    monkeypatch.setattr(systems, "find_spec", lambda name: name)
    assert told.trackers(["wandb, mlflow", "wandb"]) == ("wandb", "mlflow")


def test_labels_are_names_of_folders_and_different_ones_stay_different(tmp_path):
    labels = ["a", "a/b", "a_b", "..", ".", "../../x", "a%2Fb", "llama@muon|quantise:bits=4"]
    paths = [(tmp_path / about(tmp_path, arm=label).path).resolve() for label in labels]
    assert len(set(paths)) == len(labels) and all(path.parent.parent == tmp_path.resolve() for path in paths)


def verdicts(report):
    return {frozenset((pair.a, pair.b)): pair.verdict for pair in report.pairs}


@pytest.mark.slow
def test_a_comparison_is_judged_the_same_by_what_trackers_kept(tmp_path, text, monkeypatch):
    monkeypatch.setattr("blockyard.compare.compare.Pool", Pool)  # a process of its own for every comparison
    if not THERE:
        pytest.skip("no tracker is installed")
    command = ["compare", "a=llama", "b=gla", "c=gpt2", "--data", text, *SMALL]
    assert main([*command, "--out", str(tmp_path / "plain")]) == 0
    assert main([*command, "--out", str(tmp_path / "told"), "--log", ",".join(THERE)]) == 0
    plain, report = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("plain", "told"))
    figures = [[(arm["name"], arm["score"], arm["learning_rate"], arm["runs"]) for arm in each["arms"]]
               for each in (plain, report)]  # fmt: skip
    assert figures[0] == figures[1] and plain["pairs"] == report["pairs"]  # the keys of the runs too
    outcome, ask = kept.outcome(tmp_path / "told"), dict(score="score", better="lower", margin=0.01)
    table = by.judge([row for row in kept.runs(tmp_path / "told") if row["role"] == "final"], **ask)
    for name in THERE:
        judged = by.judge(str(tmp_path / "told" / "logs" / name), **ask)
        assert verdicts(judged) == verdicts(outcome) and judged.best == outcome.best, name
        assert [pair.p for pair in judged.pairs] == pytest.approx([pair.p for pair in table.pairs], rel=1e-9)
        means = {arm.name: arm.score.mean for arm in judged.arms}
        assert means == pytest.approx({arm.name: arm.score.mean for arm in outcome.arms}, rel=1e-12)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_comparison_that_is_killed_tells_every_point_once(tmp_path, text):
    names = [name for name in THERE if name in ("tensorboard", "trackio", "wandb")]
    if not names:
        pytest.skip("no tracker is installed")
    out = tmp_path / "out"
    small = [*SMALL[:2], "--tokens", "60k", *SMALL[4:]]
    command = [sys.executable, "-P", "-m", "blockyard", "train", "llama", "--data", text, "--out", str(out),
               *small[:-4], "--log", ",".join(names)]  # fmt: skip
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    until = time.monotonic() + 200
    while time.monotonic() < until and not any(p.stat().st_size > 1500 for p in out.glob("runs/*/log.jsonl")):
        time.sleep(0.05)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    assert not list(out.glob("runs/*/result.json"))
    subprocess.run(command, check=True, capture_output=True)
    (log,) = out.glob("runs/*/log.jsonl")
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines()]
    for name in names:
        rows = read_rows(out / "logs" / name).rows
        assert sorted(row["step"] for row in rows if row.get("loss") is not None) == steps, name
        assert len([row for row in rows if row.get("score") is not None]) == 1, name


def test_every_tracker_is_one_file():
    assert ALL == ["lines", "mlflow", "tensorboard", "trackio", "wandb"]
    for name in ALL:
        assert Path(registry.find("tracker", name).path).stem == name
        assert issubclass(registry.find("tracker", name).load_named(), Tracker)
