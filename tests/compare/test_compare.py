"""The comparison as a whole: the same bits again, in any order, after any kill; and every wrong request named."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import blockyard
from blockyard.cli import main
from blockyard.compare.compare import folder_name
from blockyard.compare.documents import Job, Plan, Speed
from blockyard.compare.identity import key_of
from blockyard.compare.plan.plan import Request, make_job, make_plan, steps_of
from blockyard.compare.run.store import Store, read_plan
from blockyard.core.errors import UsageError
from blockyard.core.files import sealed
from blockyard.model.find import find_model

SMALL = ["--params", "60k", "--tokens", "4k", "--length", "64", "--batch", "8", "--seeds", "2"]
KEPT = ("params", "flops", "learning_rate", "score", "status", "rank", "letters", "tokens")


def run(*words):
    return main(["compare", *words])


def facts(folder):
    data = json.loads((Path(folder) / "result.json").read_text())
    return {arm["name"]: {k: arm[k] for k in KEPT} for arm in data["arms"]}, data["pairs"]


@pytest.fixture(scope="module")
def done(tmp_path_factory, text):
    out = tmp_path_factory.mktemp("done") / "out"
    assert run("a=llama", "b=gla", "--data", text, "--out", str(out), *SMALL) == 0
    return out


def test_a_comparison_leaves_what_it_promises(done):
    data = json.loads((done / "result.json").read_text())
    assert {"format", "plan", "metric", "alpha", "margin", "looks", "arms", "pairs", "needed_difference", "detectable",
            "seeds_for_margin", "report"} <= set(data)  # fmt: skip
    arm = data["arms"][0]
    assert {"name", "params", "flops_per_token", "score", "rank", "letters", "candidate", "finished", "failed",
            "learning_rate", "edge_of_grid", "train_tokens_per_s", "decode_tokens_per_s", "peak_bytes", "state_bytes",
            "status"} <= set(arm)  # fmt: skip
    assert {"a", "b", "difference", "low", "high", "p", "resolved", "verdict"} <= set(data["pairs"][0])
    counts = [arm["params"] for arm in data["arms"]]
    assert max(counts) / min(counts) <= 1.02 and len(arm["score"]["per_seed"]) == 2
    finished = [json.loads(line)["finished"] for line in (done / "events.jsonl").read_text().splitlines()]
    assert len(finished) == len(set(finished)) == 2 * (4 + 2)
    assert (done / "report.html").stat().st_size > 1000 and (done / "index.sqlite").exists()
    assert not list(done.rglob("*.ckpt"))


def test_other_order_and_labels_give_the_same_bits(done, tmp_path, text):
    assert run("x=gla", "y=llama", "--data", text, "--out", str(tmp_path / "o"), *SMALL) == 0
    (mine, pairs), (other, turned) = facts(done), facts(tmp_path / "o")
    assert mine["a"] == other["y"] and mine["b"] == other["x"]
    names = {"x": "b", "y": "a"}
    assert [{**p, "a": names[p["a"]], "b": names[p["b"]]} for p in turned] == pairs


def test_a_finished_comparison_repeats_without_a_run(done, text, capsys):
    before = (done / "result.json").read_bytes()
    assert run("a=llama", "b=gla", "--data", text, "--out", str(done), "--json", *SMALL) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (done / "result.json").read_bytes() == before
    assert printed["pairs"] == json.loads(before)["pairs"]


def test_every_arm_is_opened_by_its_name_and_that_is_its_best_run(done, text, tmp_path, capsys):
    data = json.loads((done / "result.json").read_text())
    for arm in data["arms"]:
        scores = [json.loads((done / run["folder"] / "result.json").read_text())["score"] for run in arm["runs"]]
        assert scores == pytest.approx(arm["score"]["per_seed"]) and [run["seed"] for run in arm["runs"]] == [0, 1]
        best = arm["runs"][scores.index(min(scores))]
        assert arm["model"] == {"seed": best["seed"], "folder": f"{best['folder']}/model"}
        assert find_model(f"{done}:{arm['name']}") == done / arm["model"]["folder"]
        ours = blockyard.load(f"{done}:{arm['name']}").state_dict()
        there = blockyard.load(done / arm["model"]["folder"]).state_dict()
        assert all(torch.equal(ours[name], there[name]) for name in there)
    assert main(["generate", f"{done}:b", "--tokens", "3"]) == 0
    assert main(["eval", f"{done}:a", "--data", text, "--length", "64"]) == 0
    assert main(["quantise", f"{done}:b", "--out", str(tmp_path / "small")]) == 0
    assert (
        find_model(done / data["arms"][0]["runs"][0]["folder"]) == done / data["arms"][0]["runs"][0]["folder"] / "model"
    )


def test_a_model_that_cannot_be_found_is_told_from_one_that_is_not_named(done, tmp_path, capsys):
    def refused(where, *says):
        assert main(["generate", str(where)]) == 2
        said = capsys.readouterr().err
        assert all(word in said for word in says) and len(said.splitlines()) == 1, said

    refused(done, "2 models", f"{done}:a", f"{done}:b")
    refused(f"{done}:c", "unknown arm", "known: a, b")
    refused(f"{tmp_path}:a", "no comparison")
    refused(f"{tmp_path}/nowhere:a", "no such file or folder")
    out = tmp_path / "out"
    out.mkdir()
    (out / "plan.json").write_text("{}")
    refused(f"{out}:a", "has not ended")
    models = {"a": None, "b": {"seed": 0, "folder": "runs/0/model"}}
    (out / "result.json").write_text(json.dumps({"arms": [{"name": k, "model": v} for k, v in models.items()]}))
    refused(f"{out}:a", "no run of a")
    refused(f"{out}:b", "not there any more", "runs/0/model")
    (out / "result.json").write_text(json.dumps({"arms": [{"name": "a"}]}))
    refused(out, "names no models", "given again")
    (out / "result.json").write_text('{"arms": 3')
    refused(out, "damaged")


def test_one_arm_is_nothing_to_compare(text, tmp_path, capsys):
    out = tmp_path / "out"
    for words in (["gla"], ["x=gla:mixer.heads=2", "--dry-run"]):
        assert run(*words, "--data", text, "--out", str(out), *SMALL) == 2
        said = capsys.readouterr()
        assert f"nothing to compare {words[0]} with" in said.err and said.out == "" and not out.exists()
    with pytest.raises(UsageError, match="blockyard train gla"):
        blockyard.compare(["gla"], data=text, out=out)


def test_a_comparison_of_which_nothing_finished_fails(text, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.modules["blockyard.compare.compare"], "UNTUNED", 1e30)
    words = ["llama", "gla", "--data", text, *SMALL, "--tuning", "none", "--out", str(tmp_path / "out")]
    assert run(*words) == 1
    error = capsys.readouterr().err
    assert "every run of every arm failed" in error and "llama: the loss was" in error and "report.html" in error


def planned(text, **asked):
    return make_plan(Request(("a=llama", "b=gla"), (text,), params="60k", **asked), told=lambda _: None)


def held(folder, plan):
    folder.mkdir()
    (folder / "plan.json").write_bytes(sealed(plan.to_json()))
    return folder


def test_a_folder_goes_on_wherever_and_by_whatever_its_figures_stay_the_same(text, tmp_path):
    plan = planned(text)
    folder = held(tmp_path / "old", plan)
    here = {"platform": "Linux-9.9", "python": "3.99", "blockyard": "9.9"}
    today = replace(
        plan,
        versions=plan.versions | here,
        same=replace(plan.same, workers=plan.same.workers + 62),
        data=replace(plan.data, paths=["/moved/rhyme.txt"], name="moved", summary="said otherwise"),
        metric=replace(plan.metric, unit="bits"),
        arms=[replace(arm, flops_per_token=1, peak_bytes=1, state_bytes={}) for arm in plan.arms],
        save_seconds=1.0,
    )
    store = Store(folder, today)
    assert not store.fresh and store.plan.steps == {} and store.plan.arms == plan.arms
    assert store.plan.same.workers == plan.same.workers + 62  # by the workers of today,
    assert store.plan.data.paths == ["/moved/rhyme.txt"]  # and from where the data lies today
    store._lock.close()


def test_another_question_is_another_plan(text, tmp_path):
    folder = held(tmp_path / "old", planned(text))
    for name, asked in {
        "tuning": {"tuning": "none"}, "length": {"length": 64}, "batch": {"batch": 4}, "data": {"codec": "bpe:300"},
        "precision": {"precision": "bfloat16"}, "tuning_seed": {"base": 3}, "rates": {"rates": (1e-3, 2e-3, 4e-3)},
        "reach": {"reach": (1, 8)},
    }.items():  # fmt: skip
        with pytest.raises(UsageError, match=rf"another plan \(it differs in [^)]*\b{name}\b"):
            Store(folder, planned(text, **asked))
    plan = planned(text)
    for name in ("torch", "numerics", "numba"):
        with pytest.raises(UsageError, match=rf"another plan \(it differs in {name}\)"):
            Store(folder, replace(plan, versions=plan.versions | {name: "another"}))
    with pytest.raises(UsageError, match=r"another plan \(it differs in threads\)"):
        Store(folder, replace(plan, same=replace(plan.same, threads=77)))
    with pytest.raises(UsageError, match=r"another plan \(it differs in size\)"):
        Store(folder, replace(plan, matched={"params": 70e3}))


def test_what_may_be_asked_otherwise_of_the_same_runs_grows_the_plan(text, tmp_path):
    """By arms, seeds, budget or margin; only where verdicts were read is it another look."""
    for name, asked in {
        "margin": {"margin": 0.02}, "seeds": {"seeds": 9}, "against": {"against": "a"}, "budget": {"tokens": "10k"},
        "alpha": {"alpha": 0.1}, "arms": {"overrides": (("layers", 1),)},
    }.items():  # fmt: skip
        before = replace(planned(text), tuned={"99": {"x": (1e-3, False)}}, steps={"x": 7})
        folder = held(tmp_path / name, before)
        store = Store(folder, planned(text, **asked))
        assert store.fresh and store.plan.earlier == [] and store.plan.error == store.plan.alpha
        assert (store.plan.tuned, store.plan.steps) == (({}, {}) if name == "budget" else (before.tuned, before.steps))
        store._lock.close()
        other = sealed({"format": 2, "plan": planned(text, margin=0.05).to_json()})
        (folder / "result.json").write_bytes(other)  # of a plan that this one grew out of, and was killed
        store = Store(folder, planned(text, **asked))
        assert store.plan.earlier == [], "nobody read verdicts of what is held"
        store._lock.close()
        read = sealed({"format": 2, "plan": before.to_json()})
        (folder / "result.json").write_bytes(read)
        store = Store(folder, planned(text, **asked))
        assert len(store.plan.earlier) == 1 and store.plan.error == pytest.approx(2 * store.plan.alpha)
        store.write_plan()
        assert (folder / "earlier" / "1" / "result.json").read_bytes() == read
        assert Plan.from_json(json.loads((folder / "earlier" / "1" / "plan.json").read_text()), "x").margin == 0.01
        store._lock.close()
        again = Store(folder, planned(text, **asked))  # the same words again are no look more
        assert again.before is None and again.plan.earlier == store.plan.earlier
        again._lock.close()
        back = Store(folder, planned(text))  # what was asked first is asked again, and nothing else was ever read
        assert back.plan.earlier == []
        back._lock.close()
        (folder / "result.json").write_bytes(sealed({"format": 2, "plan": store.plan.to_json()}))
        back = Store(folder, planned(text))  # now both were read: two looks it stays
        assert len(back.plan.earlier) == 1
        back._lock.close()


def stepped(plan):
    return replace(plan, steps=steps_of(plan, {}))


def test_equal_arms_start_differently(text):
    plan = stepped(make_plan(Request(("a=llama", "b=llama"), (text,), params="60k")))
    keys = {key_of(make_job(plan, arm, "final", 0, 1e-3)) for arm in plan.arms}
    assert len(keys) == 2


def test_a_forced_twin_is_another_run(text, monkeypatch):
    keys = set()
    for twin in ("cpu", "chunked"):
        monkeypatch.setenv("BLOCKYARD_KERNEL", twin)
        plan = stepped(make_plan(Request(("gla", "llama"), (text,), params="60k")))
        keys.add(key_of(make_job(plan, plan.arms[0], "final", 0, 1e-3)))
    assert len(keys) == 2


def test_the_names_of_runs_are_those_of_earlier_versions(monkeypatch):
    """Runs that were finished before documents had types are found again: a name is the hash of the same words."""
    monkeypatch.setattr("blockyard.compare.identity.loops", lambda: "0.66.0")
    monkeypatch.setattr("blockyard.compare.identity.platform.machine", lambda: "x86_64")
    monkeypatch.setattr("blockyard.compare.identity.NUMERICS", 6)  # that of the version whose name stands below
    monkeypatch.setattr("blockyard.compare.identity.torch.__version__", "2.13.0+cpu")
    job = Job(
        system={"kind": "system"}, ordinal=1, data="d7", task=None, paths=["/a"], codec="bytes", steps=98, seed=3,
        role="final", lr=0.005, batch=16, length=128, schedule="cosine", precision="float32", threads=1, device="cpu",
        micro=None, save_seconds=20.0, lengths=True,
    )  # fmt: skip
    assert key_of(job) == key_of(replace(job, paths=[], save_seconds=1.0, lengths=False)) == "46fcf94c97d49490"
    assert key_of(replace(job, seed=4)) != key_of(job)


def test_flops_and_minutes_become_tokens():
    for name, amount in (("flops", "1e10"), ("minutes", 0.5)):
        plan = make_plan(Request(("llama", "mamba2"), params="100k", **{name: amount}))
        first, second = plan.arms
        steps = steps_of(plan, {first.id: Speed(0.1, 0.1), second.id: Speed(0.2, 0.1)})
        if name == "minutes":
            assert (steps[first.id], steps[second.id]) == (300, 150)
        else:
            ratio = second.flops_per_token / first.flops_per_token
            assert steps[first.id] / steps[second.id] == pytest.approx(ratio, rel=0.1)


def kill_until_done(command, out, kills, wait):
    """Run a command; kill its whole process group so many times, `wait` behind its start; then let it end."""
    killed = 0
    for _ in range(kills):
        child = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        wait(child)
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            killed += 1
        child.wait()
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    assert killed
    return [json.loads(line)["finished"] for line in (out / "events.jsonl").read_text().splitlines()]


def moments(least, most):
    """Behind any start, so many seconds."""
    draw = random.Random(7)

    def wait(child):
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(draw.uniform(least, most))

    return wait


def runs_more(out, count):
    """Behind so many runs more than had ended before."""

    def ended():
        path = out / "events.jsonl"
        return path.read_text().count("\n") if path.exists() else 0

    def wait(child):
        goal = ended() + count
        while child.poll() is None and ended() < goal:
            time.sleep(0.02)

    return wait


@pytest.mark.parametrize("kills", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_kills_lose_nothing_and_change_nothing(done, tmp_path, text, kills):
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "blockyard", "compare", "a=llama", "b=gla", "--data", text, "--out", str(out)]
    finished = kill_until_done([*command, *SMALL], out, kills, runs_more(out, 2))
    assert len(finished) == len(set(finished)) == 12
    assert facts(out) == facts(done)


@pytest.mark.usefixtures("heeds_ctrl_c")
def test_ctrl_c_says_how_to_go_on(tmp_path, text):
    out = tmp_path / "stopped"
    command = [sys.executable, "-m", "blockyard", "compare", "llama", "gla", "--data", text, "--out", str(out)]
    child = subprocess.Popen([*command, *SMALL], stderr=subprocess.PIPE, text=True, start_new_session=True)
    while not any(out.glob("runs/*")) and child.poll() is None:
        time.sleep(0.05)
    os.killpg(child.pid, signal.SIGINT)
    _, said = child.communicate(timeout=30)
    assert child.returncode == 130 and "Traceback" not in said
    assert f"blockyard compare llama gla --data {text} --out {out}" in said


def test_a_diverging_arm_fails_and_the_others_go_on(tmp_path, text, capsys):
    wild = "bad=llama:mixer.scale=1e30"
    assert run("llama", wild, "--data", text, "--out", str(tmp_path / "o"), *SMALL, "--tuning", "none") == 0
    data = json.loads((tmp_path / "o" / "result.json").read_text())
    arms = {arm["name"]: arm for arm in data["arms"]}
    assert arms["llama"]["status"] == "finished"
    assert arms["bad"]["failed"] == 2 and not arms["bad"]["candidate"] and arms["bad"]["score"]["mean"] is None
    assert "nan" in arms["bad"]["reasons"][0] and "failed in 2 of 2 runs" in capsys.readouterr().out


BAD = [
    (["lama"], "did you mean llama"),
    (["llama:dims=3"], "dim"),
    (["llama:mixer.head=3"], "heads"),
    (["llama", "llama"], "labels"),
    (["llama:mixer.heads=7"], "does not divide"),
    (["llama", "--params", "many"], "positive amount"),
    (["llama", "--params", "3k"], "cannot have"),
    (["llama", "--tokens", "1k", "--minutes", "2"], "give one"),
    (["llama", "--data", "/nowhere/at-all.txt"], "no such file"),
    (["llama", "--set", "mixer.heads"], "key=value"),
    (["llama", "--precision", "float8"], "float32"),
    (["llama", "--tuning", "magic"], "fit"),
    (["llama", "--seeds", "0"], "at least 1"),
]


@pytest.mark.parametrize("words,says", BAD, ids=lambda w: " ".join(w) if isinstance(w, list) else "")
def test_a_wrong_request_is_named_in_a_line_and_leaves_nothing(words, says, tmp_path, capsys):
    assert run(*words, "--out", str(tmp_path / "o")) == 2
    said = capsys.readouterr().err
    assert says in said and "Traceback" not in said and len(said.splitlines()) <= 2
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    "content,says",
    [(b"", "empty"), (b"abc", "3"), (b"\x00\x01" * 4000, "binary"), (b"caf\xe9 " * 400, "UTF-8")],
)
def test_bad_data_is_named(content, says, tmp_path, capsys):
    path = tmp_path / "data.txt"
    path.write_bytes(content)
    assert run("llama", "--data", str(path), "--out", str(tmp_path / "o")) == 2
    said = capsys.readouterr().err
    assert says in said and "Traceback" not in said and not (tmp_path / "o").exists()


def test_a_folder_of_another_plan_in_use_or_of_something_else_is_refused(done, text, tmp_path, capsys):
    assert run("a=llama", "b=gla", "--data", text, "--out", str(done), *SMALL, "--batch", "4") == 2
    assert "another plan" in capsys.readouterr().err
    plan, before = read_plan(done), (done / "plan.json").read_bytes()
    held = Store(done, plan)
    assert run("a=llama", "b=gla", "--data", text, "--out", str(done), *SMALL) == 2
    assert "in use" in capsys.readouterr().err
    held._lock.close()
    (tmp_path / "letter.txt").write_text("mine")
    assert run("a=llama", "b=gla", "--data", text, "--out", str(tmp_path), *SMALL) == 2
    assert "holds no comparison" in capsys.readouterr().err
    (done / "plan.json").write_text(json.dumps(plan.to_json() | {"format": 99}))
    with pytest.raises(UsageError, match="format 99"):
        Store(done, plan)
    (done / "plan.json").write_bytes(before)


@pytest.mark.parametrize("label", ["../../x", "/tmp/x", "..", ".hidden", "a\nb", "x" * 400, "a/../../b"])
def test_a_label_leads_nowhere(label):
    name = folder_name([label, "gla"])
    assert Path("blockyard-out", name).parent == Path("blockyard-out") and not name.startswith(".")
    assert "\n" not in name and len(name) <= 100
    assert folder_name(["llama", "a=1.5"]) == "llama-a=1.5"


def test_an_output_folder_that_cannot_be_written_is_named(text, capsys, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert run("llama", "gla", "--data", text, "--out", str(blocked / "o"), *SMALL) == 2
    assert "cannot write" in capsys.readouterr().err


def test_train_eval_generate(tmp_path, text, capsys):
    out = str(tmp_path / "one")
    common = ["--data", text, "--params", "60k", "--tokens", "8k", "--length", "64", "--batch", "8"]
    assert main(["train", "gla", *common, "--out", out, "--json"]) == 0
    trained = json.loads(capsys.readouterr().out)
    assert main(["eval", trained["model"], "--data", text, "--length", "64", "--json"]) == 0
    scored = json.loads(capsys.readouterr().out)
    assert 0.5 < scored["bits_per_byte"] < 8
    words = ["generate", out, "--tokens", "12", "--seed", "3", "--json", "--prompt", "the cat "]
    assert main(words) == 0
    first = json.loads(capsys.readouterr().out)
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out) == first and len(first["text"]) > 0
    assert len(first["tokens"]) == len(first["logprobs"]) == 12 and max(first["logprobs"]) <= 0
    greedy = [*words[:2], "--tokens", "40", "--temperature", "0", "--json", "--prompt", "the cat sat on the cat "]
    assert main(greedy) == 0
    plain = json.loads(capsys.readouterr().out)
    assert main([*greedy, "--num-speculative", "4"]) == 0
    assert json.loads(capsys.readouterr().out)["text"] == plain["text"]
    stop = plain["text"][10:13]
    assert main([*greedy, "--stop", stop]) == 0
    assert json.loads(capsys.readouterr().out)["text"] == plain["text"][: plain["text"].index(stop)]
    assert main([*words[:2], *greedy[6:], "--beams", "2", "--tokens", "40"]) == 0
    found = json.loads(capsys.readouterr().out)["beams"]
    assert len(found) == 2 and found[0]["score"] >= found[1]["score"]
    small = str(tmp_path / "small")
    assert main(["quantise", out, "--bits", "8", "--out", small, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["after"] < told["before"] / 2 and "stem" in told["packed"]
    assert main(["eval", small, "--data", text, "--length", "64", "--json"]) == 0
    assert abs(json.loads(capsys.readouterr().out)["bits_per_byte"] - scored["bits_per_byte"]) < 0.02
    assert main(["generate", small, "--tokens", "4"]) == 0
    assert main(["quantise", out, "--bits", "3", "--out", str(tmp_path / "none")]) == 2
    assert not (tmp_path / "none").exists()
    assert main(["generate", str(tmp_path), "--json"]) == 2
    assert main(["generate", out, "--prompt", ""]) == 2


@pytest.mark.slow
def test_twenty_kills(tmp_path, text):
    """Two arms, tens of seconds of work, a checkpoint every two seconds, killed twenty times."""
    code = (
        "import sys\nfrom blockyard.compare.compare import compare\n"
        f"compare(['llama', 'gla'], data={text!r}, params='200k', tokens='200k', seeds=3, save_seconds=2.0,"
        " out=sys.argv[1], quiet=True)"
    )
    command = [sys.executable, "-c", code]
    finished = kill_until_done([*command, str(tmp_path / "k")], tmp_path / "k", 20, moments(1.0, 8.0))
    assert len(finished) == len(set(finished)) == 14
    subprocess.run([*command, str(tmp_path / "plain")], check=True)
    assert facts(tmp_path / "k") == facts(tmp_path / "plain")


def runs_of(folder):
    return {path.name: path.stat().st_mtime_ns for path in (folder / "runs").iterdir()}


def test_a_comparison_grows_without_repeating_a_run(text, tmp_path, capsys):
    """Another arm, then another seed: finished runs stay as they are, at the rates that they were tuned to; the looks
    are counted, and what they cost is said."""
    out = tmp_path / "out"
    few = ["--data", text, "--params", "60k", "--tokens", "2k", "--length", "32", "--batch", "8", "--out", str(out)]
    assert run("llama", "gla", *few, "--seeds", "2") == 0
    first, rates = runs_of(out), read_plan(out).tuned
    before = {arm["name"]: arm for arm in json.loads((out / "result.json").read_text())["arms"]}
    capsys.readouterr()
    assert run("llama", "gla", "gpt2", *few, "--seeds", "2") == 0
    said = capsys.readouterr()
    assert "This comparison grows" in said.err and "bounded by 10%, not 5%" in " ".join(said.out.split())
    second = runs_of(out)
    assert first.items() <= second.items() and len(second) == len(first) + 4 + 2
    [(seed, known)] = rates.items()
    assert known.items() < read_plan(out).tuned[seed].items()
    after = {arm["name"]: arm for arm in json.loads((out / "result.json").read_text())["arms"]}
    for name, arm in before.items():
        assert all(after[name][key] == arm[key] for key in ("learning_rate", "curves", "trials"))
        assert after[name]["score"]["per_seed"] == arm["score"]["per_seed"]
    assert run("llama", "gla", "gpt2", *few, "--seeds", "3") == 0
    assert second.items() <= runs_of(out).items() and len(runs_of(out)) == len(second) + 3
    report = json.loads((out / "result.json").read_text())
    assert len(report["plan"]["earlier"]) == 2 and len(report["seeds"]) == 3
    assert sorted(path.name for path in (out / "earlier").iterdir()) == ["1", "2"]
    assert run("llama", "gla", *few, "--seeds", "2") == 0, "a subset is asked for again"
    assert len(runs_of(out)) == len(second) + 3
    assert (
        json.loads((out / "result.json").read_text())["arms"][0]["score"]
        == json.loads((out / "earlier" / "1" / "result.json").read_text())["arms"][0]["score"]
    )
