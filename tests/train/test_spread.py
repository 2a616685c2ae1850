"""A run on several processes is that of one: the same losses, the same checkpoints, from and to any number of them."""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch

import blockyard as by
from blockyard.cli import main
from blockyard.core.errors import UsageError
from blockyard.core.spec import depth, objective, phase
from blockyard.train import checkpoint
from blockyard.train.loop import Settings, train
from blockyard.train.spread import Alone, here, together

TORCHRUN = [sys.executable, "-P", "-m", "torch.distributed.run", "--nproc-per-node"]
LLAMA = by.spec("llama", "tiny")
MASKED = by.spec("bert", "tiny").but(program=(phase(objective("masked")),))
DROPPED = depth("dropped", of=depth("stack", layers=4), share=0.5)
SYSTEMS = {  # what is split in different ways: rows of unequal targets, draws, penalties, statistics, two phases
    "llama": LLAMA,
    "masked": MASKED,
    "dropped": LLAMA.but(model=LLAMA["model"].but(depth=DROPPED)),
    "experts": by.spec("llama", "tiny", channel="experts"),
    "statistics": by.spec("structured_ffn", "tiny"),
    "phases": LLAMA.but(
        program=(phase(objective("next_token"), share=0.5, train="stem.*"), phase(objective("next_token"), share=0.5))
    ),
}


class Noise:
    """Batches that are a function of the step."""

    def __init__(self, rows=4):
        self.rows = rows

    def next(self, step):
        ids = np.random.default_rng(step).integers(0, 64, (self.rows, 17))
        return {"tokens": ids[:, :-1], "targets": np.where(ids[:, 1:] < 40, ids[:, 1:], -1)}


class Stop(BaseException):
    pass


def fit(name, folder=None, *, dtype=torch.float64, steps=6, rows=4, watch=None, **settings):
    """The losses of some steps and the model that came out."""
    model = by.build(SYSTEMS[name]).to(dtype)
    how = Settings(steps=steps, lr=3e-3, log_every=1, save_seconds=0.0, **settings)
    done = train(SYSTEMS[name], model, Noise(rows), how, folder, watch)
    return [loss for _, loss in done.curve], done.model


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def launch(code, *words, count=2, check=True):
    """What the first process printed as JSON of a script that torchrun starts several times."""
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "OMP_NUM_THREADS": "1",
        "TORCH_CPP_LOG_LEVEL": "ERROR",
    }
    head = "import sys\nsys.path[:0] = ['tests/train']\nfrom test_spread import *\ntorch.set_num_threads(1)\n"
    file = str(words[0] / "script.py")
    with open(file, "w") as script:
        script.write(head + code)
    command = [*TORCHRUN, str(count), "--master-port", str(free_port()), file, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=300)
    if check:
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout)
    return done


COMPARE = """
found = {}
torch.distributed.init_process_group("gloo")  # once for all that follows
with together() as all_of:
    first, pieces = all_of.first, 4 // all_of.world
for dtype in (torch.float32, torch.float64):
    for name in SYSTEMS if dtype == torch.float64 else ["llama", "masked"]:
        alone, plain = fit(name, dtype=dtype, micro=pieces)
        whole, _ = fit(name, dtype=dtype)
        for shard in (False, True):
            if shard and name in ("experts", "statistics", "phases"):
                continue
            with together(shard):
                losses, model = fit(name, dtype=dtype)
            apart = max(float((p - q).detach().abs().max()) for p, q in zip(plain.parameters(), model.parameters()))
            found[f"{name} {str(dtype)[-2:]} {shard}"] = (losses, alone, whole, apart)
if first:
    print(json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_processes_together_lose_what_one_loses(tmp_path):
    """One that takes its batches in as many pieces; to rounding, and where nothing is drawn or penalised a piece as a
    whole batch too."""
    found = launch(COMPARE, tmp_path)
    assert len(found) == 2 * 2 + 6 + 3
    for name, (losses, alone, whole, apart) in found.items():
        close = 1e-6 if " 32 " in name else 1e-12
        assert losses == pytest.approx(alone, rel=close), name
        assert " 32 " in name or apart < 1e-6, name  # Adam makes much of the sign of a gradient that is next to nothing
        if name.split()[0] not in ("dropped", "experts"):
            assert losses == pytest.approx(whole, rel=close), name


GO_ON = """
folder, stop, fatal, shard = sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5] == "shard"
with together(shard) as all_of:
    def watch(step, loss):
        if step == stop:
            raise Stop
        if step == fatal and not all_of.first:
            os.kill(os.getpid(), signal.SIGKILL)
    from pathlib import Path
    try:
        losses, _ = fit("llama", Path(folder), steps=18, watch=watch)
    except Stop:
        losses = []
    if all_of.first:
        print(json.dumps(losses))
"""


def steps(folder):
    return [json.loads(line)["step"] for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("how", ["copy", "shard"])
def test_a_run_goes_on_with_another_number_of_processes(tmp_path, how):
    """One, then two, then one; and two from the start, one of which is killed, then one."""
    plain, model = fit("llama", steps=18)

    def stop(at):
        def watch(step, loss):
            if step == at:
                raise Stop

        return watch

    run = tmp_path / "run"
    with pytest.raises(Stop):
        fit("llama", run, steps=18, watch=stop(6))
    assert launch(GO_ON, tmp_path, run, 12, 0, how) == []
    assert steps(run) == [*range(1, 13)] and len(list(run.glob("*.ckpt"))) == 2
    losses, again = fit("llama", run, steps=18)
    assert losses == pytest.approx(plain, rel=1e-12) and steps(run) == [*range(1, 19)]
    assert max(float((p - q).detach().abs().max()) for p, q in zip(model.parameters(), again.parameters())) < 1e-9
    held = [checkpoint.latest(folder)[0] for folder in (run, tmp_path / "alone") if folder.exists()]
    fit("llama", tmp_path / "alone", steps=18)
    held.append(checkpoint.latest(tmp_path / "alone")[0])
    assert {name: (t.shape, t.dtype) for name, t in held[0].items()} == {
        name: (t.shape, t.dtype) for name, t in held[1].items()
    }
    killed = tmp_path / "killed"
    done = launch(GO_ON, tmp_path, killed, 0, 9, how, check=False)
    assert done.returncode != 0 and 6 <= steps(killed)[-1] <= 9 and not list(killed.glob("*000018.ckpt"))
    losses, _ = fit("llama", killed, steps=18)
    assert losses == pytest.approx(plain, rel=1e-12) and steps(killed) == [*range(1, 19)]


def one_of(monkeypatch, world=1):
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    for name, value in {"RANK": 0, "WORLD_SIZE": world, **where}.items():
        monkeypatch.setenv(name, str(value))


def test_one_of_one_process_is_alone_and_leaves_nothing_behind(monkeypatch):
    plain, model = fit("llama", steps=2)
    one_of(monkeypatch)
    with together() as all_of:
        assert here() is all_of and all_of.first and all_of.share(4) == slice(0, 4)
        losses, again = fit("llama", steps=2)
    assert type(here()) is Alone and not torch.distributed.is_initialized()
    assert losses == plain and all(torch.equal(p, q) for p, q in zip(model.parameters(), again.parameters()))


@pytest.mark.parametrize("system, shard, says", [
    (by.spec("powernorm", "tiny"), False, "norm:power makes the rows of a batch depend on one another"),
    (SYSTEMS["statistics"], True, "leave --shard out"),
    (SYSTEMS["phases"], True, "several phases"),
    (SYSTEMS["experts"], True, "weights that tokens are routed to are not used by every process"),
    (by.spec("universal_transformer", "tiny"), True, "a weight that is one number cannot be split"),
    (LLAMA.but(optimiser=by.Spec("optimiser", "muon")), True, "optimiser:muon needs whole tensors; with --shard take"),
])  # fmt: skip
def test_what_cannot_be_split_is_refused_in_a_line(monkeypatch, system, shard, says):
    one_of(monkeypatch)
    with together(shard):
        with pytest.raises(UsageError, match=says) as error:
            train(system, by.build(system), Noise(), Settings(steps=1, lr=1e-3))
        assert "\n" not in str(error.value)


def test_a_batch_that_does_not_divide_is_refused(monkeypatch):
    one_of(monkeypatch)
    with together() as all_of:
        monkeypatch.setattr(all_of, "world", 3)
        with pytest.raises(UsageError, match="a batch of 4 rows cannot be split evenly over 3 processes"):
            all_of.share(4)
        monkeypatch.setattr(all_of, "rank", 2)
        assert all_of.share(6) == slice(4, 6)


def test_what_torchrun_is_not_for_is_refused(monkeypatch, capsys):
    assert main(["train", "llama", "--shard"]) == 2
    assert "--shard is for several processes" in capsys.readouterr().err
    one_of(monkeypatch, world=2)
    assert main(["compare", "llama", "gla"]) == 2
    assert "torchrun spreads one run" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_verb_says_what_one_process_says(tmp_path, text):
    """The same key, figures to rounding, one answer; and a batch that does not divide is one line."""
    words = ["train", "llama", "--data", text, "--params", "40k", "--tokens", "2k", "--length", "32", "--json"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    def run(command, out, batch):
        return subprocess.run([*command, *words, "--batch", str(batch), "--out", str(tmp_path / out)],
                              capture_output=True, text=True, env=env)  # fmt: skip

    several = [*TORCHRUN, "2", "--master-port", str(free_port()), "-m", "blockyard"]
    alone, two = run([sys.executable, "-P", "-m", "blockyard"], "alone", 4), run(several, "two", 4)
    assert alone.returncode == two.returncode == 0, two.stderr[-2000:]
    first, second = json.loads(alone.stdout), json.loads(two.stdout)
    assert second["score"] == pytest.approx(first["score"], rel=1e-5)
    assert os.path.relpath(first["model"], tmp_path / "alone") == os.path.relpath(second["model"], tmp_path / "two")
    assert two.stderr.count("final llama") == 1
    odd = run(several, "odd", 3)
    lines = [line for line in odd.stderr.splitlines() if line.startswith("blockyard: ")]
    assert odd.returncode and lines == [
        "blockyard: a batch of 3 rows cannot be split evenly over 2 processes; change --batch or --nproc-per-node"
    ]
    assert "[rank" not in odd.stderr  # torchrun itself reports at length, and nobody else
