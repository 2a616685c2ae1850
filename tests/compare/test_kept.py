"""What a folder holds, read again: its outcome with the same page, its runs as rows, and what is no such folder."""

import csv
import json
import sys
from dataclasses import replace

import pytest

import blockyard
from blockyard.cli import main
from blockyard.compare.kept import RUNS, outcome, report, runs
from blockyard.core.errors import UsageError

FEW = ["--params", "60k", "--tokens", "2k", "--length", "32", "--batch", "8", "--seeds", "2"]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A comparison of two arms with its tuning."""
    folder = tmp_path_factory.mktemp("kept")
    text = folder / "a.txt"
    text.write_text("".join(f"{i} times {i} is {i * i}.\n" for i in range(4000)))
    assert main(["compare", "llama", "gla", "--data", str(text), *FEW, "--out", str(folder / "out")]) == 0
    return folder / "out"


def test_a_report_is_written_anew_as_it_was(done, capsys):
    kept = {name: (done / name).read_bytes() for name in ("report.html", "report.txt", "runs.csv", "result.json")}
    for name in ("report.html", "report.txt", "runs.csv"):
        (done / name).unlink()
    assert main(["report", str(done)]) == 0
    said = capsys.readouterr().out
    assert "llama" in said and {name: (done / name).read_bytes() for name in kept} == kept
    assert main(["report", str(done), "--json"]) == 0
    assert [arm["name"] for arm in json.loads(capsys.readouterr().out)["arms"]] == [a.name for a in outcome(done).arms]


def test_runs_are_all_that_were_done(done, tmp_path, capsys):
    found = runs(done)
    assert [row["role"] for row in found].count("tune") == 8 and [row["role"] for row in found].count("final") == 4
    finals = {(row["arm"], row["seed"]): row["score"] for row in found if row["role"] == "final"}
    for arm in outcome(done).arms:
        assert [finals[arm.name, run.seed] for run in arm.runs] == pytest.approx(arm.score.per_seed)
    assert all((done / row["folder"] / "result.json").exists() for row in found)
    path = tmp_path / "runs.csv"
    assert main(["runs", str(done), "--csv", str(path)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 13
    rows = list(csv.DictReader(path.open()))
    assert tuple(rows[0]) == RUNS and [float(row["score"]) for row in rows] == [row["score"] for row in found]
    assert main(["runs", str(done), "--csv", str(path)]) == 2 and "exists" in capsys.readouterr().err


def test_the_verdict_of_a_comparison_follows_from_its_table(done):
    """runs.csv holds every run by group of the test; judged as anybody's runs it says what the comparison says."""
    found = outcome(done)
    rows = list(csv.DictReader((done / "runs.csv").open()))
    assert len(rows) == 2 * 2 * 32 and sum(float(row["weight"]) for row in rows) == pytest.approx(4)
    assert len({row["weight"] for row in rows}) > 1, "the groups of a text are no equal shares of it"
    judged = blockyard.judge(done / "runs.csv", pair="group", weight="weight", score="loss")
    assert judged.source.design == "both" and judged.margin == pytest.approx(found.margin)
    for pair in found.pairs:
        other = judged.pair([pair.a, pair.b])
        sign = 1 if other.a == pair.a else -1
        assert other.difference == pytest.approx(sign * pair.difference, abs=2e-6)
        assert sorted([sign * other.low, sign * other.high]) == pytest.approx([pair.low, pair.high], abs=2e-6)
        assert (other.p, other.resolved, other.verdict) == (pytest.approx(pair.p), pair.resolved, pair.verdict)
    for arm in found.arms:
        other = judged.arm(arm.name)
        assert (other.rank, other.letters) == (arm.rank, arm.letters)
        assert other.score.per_seed == pytest.approx(arm.score.per_seed, abs=1e-9)
        assert [other.score.low, other.score.high] == pytest.approx([arm.score.low, arm.score.high], abs=2e-6)
    plain = blockyard.judge(done / "runs.csv", pair="group", score="loss")
    assert plain.arms[0].score.mean != pytest.approx(found.arms[0].score.mean, abs=1e-6), "weights say something"


def test_rows_by_group_add_up_to_their_runs(done):
    found = outcome(done)
    by_run = {}
    for row in found.rows(groups=True):
        by_run.setdefault((row["arm"], row["seed"]), []).append(row)
    for own, whole in zip(by_run.values(), found.rows(), strict=True):
        assert [row["group"] for row in own] == list(range(32))
        assert sum(row["weight"] * row["score"] for row in own) == pytest.approx(whole["score"])
        assert {row["whole"] for row in own} == {whole["score"]} and {row["status"] for row in own} == {"finished"}
    frame = pytest.importorskip("pandas") and found.frame(groups=True)
    assert len(frame) == 128 and list(frame.columns)[:6] == ["arm", "seed", "folder", "status", "group", "weight"]
    arm = replace(found.arms[0], score=replace(found.arms[0].score, per_seed=[None, 1.0]), groups=[])
    rows = replace(found, arms=[arm]).rows(groups=True)
    assert [(row["status"], row["group"], row["score"], row["whole"]) for row in rows] == [
        ("failed", None, None, None),
        ("finished", None, None, 1.0),
    ]
    judged = blockyard.judge([{"arm": a, "seed": s, "loss": s + len(a)} for a in ("x", "yy") for s in (1.0, 2.0)])
    with pytest.raises(UsageError, match="keeps no groups"):
        judged.rows(groups=True)


def test_a_judgement_is_shown_again(tmp_path, capsys):
    table = tmp_path / "runs.csv"
    table.write_text(
        "arm,seed,loss\n" + "".join(f"{a},{i},{b + i / 100}\n" for i in range(4) for a, b in (("x", 1), ("y", 2)))
    )
    assert main(["judge", str(table), "--out", str(tmp_path / "out")]) == 0
    first = capsys.readouterr().out
    assert main(["report", str(tmp_path / "out")]) == 0 and capsys.readouterr().out == first


def test_the_runs_of_a_comparison_that_goes_on_are_those_so_far(done, tmp_path):
    (tmp_path / "plan.json").write_bytes((done / "plan.json").read_bytes())
    assert runs(tmp_path) == []
    lines = (done / "events.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "events.jsonl").write_bytes(b"".join(lines[:3]) + lines[3][:20])
    assert len(runs(tmp_path)) == 3, "the last one is cut off"
    with pytest.raises(UsageError, match="not finished: give its command again"):
        report(tmp_path)
    (tmp_path / "events.jsonl").write_bytes(lines[0][:20] + b"\n" + lines[1])
    with pytest.raises(UsageError, match="line 1 is damaged"):
        runs(tmp_path)


@pytest.mark.parametrize("verb", ["report", "runs"])
def test_what_is_no_such_folder_is_a_line(verb, tmp_path, capsys):
    for folder in (tmp_path, tmp_path / "nothing"):
        assert main([verb, str(folder)]) == 2
        said = capsys.readouterr().err
        assert len(said.splitlines()) == 1 and "is missing" in said


def test_rows_and_frames_have_every_run(done, tmp_path, monkeypatch):
    found = outcome(done)
    rows = found.rows()
    assert [(row["arm"], row["seed"], row["score"]) for row in rows] == [
        (arm.name, run.seed, score) for arm in found.arms for run, score in zip(arm.runs, arm.score.per_seed)
    ]
    assert {"params", "tokens", "learning_rate", "seconds", "folder"} < rows[0].keys()
    judged = blockyard.judge([{"arm": a, "seed": s, "loss": s + len(a)} for a in ("x", "yy") for s in (1.0, 2.0, 4.0)])
    assert judged.rows()[0] == {"arm": "x", "run": "1.0", "score": 2.0} and len(judged.rows()) == 6
    frame = pytest.importorskip("pandas") and judged.frame()
    assert list(frame.columns) == ["arm", "run", "score"] and frame.groupby("arm")["score"].mean()["yy"] > 4
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match="needs pandas"):
        judged.frame()
