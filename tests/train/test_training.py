"""The loop: micro-batches, resuming, phases, failures; and checkpoints that are whole or absent."""

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

import blockyard as by
from blockyard.core.errors import UsageError
from blockyard.core.part import Objective
from blockyard.core.spec import objective, phase
from blockyard.model.model import make
from blockyard.optimiser.adamw import adamw
from blockyard.train import checkpoint, loop
from blockyard.train.loop import Run, Settings, build_objective, train
from blockyard.train.precision import choose
from blockyard.train.schedule import SCHEDULES, cosine, schedule, trained, warmup_stable_decay


class Noise:
    """Batches that are a function of the step."""

    def __init__(self, rows=4, length=16):
        self.shape = (rows, length + 1)

    def next(self, step):
        return np.random.default_rng(step).integers(0, 64, self.shape)


SPEC = by.spec("gla", "tiny")


def fit(folder=None, steps=12, spec=SPEC, **settings):
    model = by.build(spec)
    return model, train(spec, model, Noise(), Settings(steps=steps, lr=3e-3, log_every=3, **settings), folder)


def same(a, b, tolerance=0.0):
    return all((p - q).abs().max() <= tolerance for p, q in zip(a.parameters(), b.parameters()))


def test_training_repeats_to_the_bit_and_lowers_the_loss():
    (a, first), (b, second) = fit(), fit()
    assert same(a, b) and first.curve == second.curve and first.status == "finished"
    assert first.curve[-1][1] < first.curve[0][1] and [s for s, _ in first.curve] == [3, 6, 9, 12]


def test_the_loop_is_what_one_would_write_by_hand():
    """Every step at its rate of the schedule, with clipped gradients and the decay that was asked for."""
    steps, lr, decay, clip = 5, 3e-3, 0.2, 0.5
    model, own = by.build(SPEC).double(), by.build(SPEC).double()
    train(SPEC, model, Noise(), Settings(steps=steps, lr=lr, clip=clip, weight_decay=decay))
    optimiser = adamw(own, dict(own.named_parameters()), lr=1.0, decay=decay)
    for step in range(steps):
        ids = torch.from_numpy(Noise().next(step))
        loss = torch.nn.functional.cross_entropy(own(ids[:, :-1]).logits.flatten(0, 1), ids[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        assert torch.nn.utils.clip_grad_norm_(own.parameters(), clip) > clip
        for group in optimiser.param_groups:
            group["lr"] = lr * cosine()(step / steps, (step + 1) / steps)
        optimiser.step()
    assert same(model, own, 1e-6) and not same(model, by.build(SPEC), 1e-3)  # a loss is summed in single precision


def test_micro_batches_change_nothing_but_rounding():
    spec = SPEC
    models = []
    for micro in (None, 1, 3):
        model = by.build(spec).double()
        train(spec, model, Noise(), Settings(steps=3, lr=1e-3, micro=micro))
        models.append(model)
    assert same(models[0], models[1], 1e-9) and same(models[0], models[2], 1e-9)


class Interrupt(Exception):
    pass


@pytest.mark.parametrize("stop", [3, 6, 9])
def test_an_interrupted_run_goes_on_to_the_same_bits(tmp_path, stop):
    whole, done = fit(steps=12)

    def watch(step, loss):
        if step == stop:
            raise Interrupt

    settings = Settings(steps=12, lr=3e-3, log_every=3, save_seconds=0.0)
    model = by.build(SPEC)
    with pytest.raises(Interrupt):
        train(SPEC, model, Noise(), settings, tmp_path, watch)
    model = by.build(SPEC)
    again = train(SPEC, model, Noise(), settings, tmp_path)
    assert same(whole, model) and again.curve == done.curve


def test_phases_share_the_budget_and_choose_what_trains():
    program = (phase(objective("next_token"), share=0.5, train="stem.*"), phase(objective("next_token"), share=0.5))
    spec = SPEC.but(program=program)
    model, start = by.build(spec), by.build(spec)
    run = Run(spec, model, Noise(), Settings(steps=8, lr=1e-2))
    for _ in range(4):
        run.advance()
    moved = {n for (n, p), q in zip(model.named_parameters(), start.parameters()) if not torch.equal(p, q)}
    assert moved == {"stem.table"}
    run.advance()
    moved = {n for (n, p), q in zip(model.named_parameters(), start.parameters()) if not torch.equal(p, q)}
    assert len(moved) > 10


def lines(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_a_finished_run_is_done_at_once_and_logs_once(tmp_path):
    model, done = fit(tmp_path, steps=9)
    log = lines(tmp_path)
    assert [line["step"] for line in log] == [3, 6, 9]
    fresh, again = fit(tmp_path, steps=9)  # built anew
    settings = Settings(steps=9, lr=3e-3, log_every=3)
    third = train(SPEC, fresh, Noise(), settings, tmp_path)  # the very model that this run left
    assert same(model, fresh) and again.curve == done.curve == third.curve and lines(tmp_path) == log
    assert again.steps == third.steps == 9 and again.status == "finished"


def test_a_log_has_every_step_once_wherever_a_run_was_stopped(tmp_path):
    def watch(step, loss):
        if step == 9:
            raise Interrupt

    settings = Settings(steps=12, lr=3e-3, log_every=3, save_seconds=0.0)
    with pytest.raises(Interrupt):
        train(SPEC, by.build(SPEC), Noise(), settings, tmp_path, watch)
    assert [line["step"] for line in lines(tmp_path)] == [3, 6, 9]  # and the newest checkpoint stands at 6
    with open(tmp_path / "log.jsonl", "a") as log:
        log.write('{"step": 12, "lo')
    done = train(SPEC, by.build(SPEC), Noise(), settings, tmp_path)
    assert [(line["step"], line["loss"]) for line in lines(tmp_path)] == list(done.curve)
    (tmp_path / "step-000000012.ckpt").unlink()
    (tmp_path / "step-000000009.ckpt").unlink()
    assert train(SPEC, by.build(SPEC), Noise(), settings, tmp_path).curve == done.curve
    assert [line["step"] for line in lines(tmp_path)] == [3, 6, 9, 12]


class Shifted(Noise):
    def next(self, step):
        return (super().next(step) + 1) % 64


def _changes():
    plain = Settings(steps=6, lr=3e-3, log_every=3)
    other = {"steps": 8, "lr": 1e-3, "schedule": "wsd", "weight_decay": 0.0, "clip": 0.5, "micro": 2,
             "precision": "bfloat16", "seed": 4, "optimiser": "other", "log_every": 2}  # fmt: skip
    for name, value in other.items():
        yield name, (SPEC, SPEC, 0, Noise(), dataclasses.replace(plain, **{name: value}))
    wide = by.spec("gla", "tiny", dim=96)
    yield "the data", (SPEC, SPEC, 0, Shifted(), plain)
    yield "the data", (SPEC, SPEC, 0, Noise(length=8), plain)
    yield "the system", (wide, wide, 0, Noise(), plain)
    yield "the system", (SPEC, wide, 0, Noise(), plain)
    yield "the system", (TWO, SPEC, 0, Noise(), plain)
    yield "the first weights", (SPEC, SPEC, 1, Noise(), plain)


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    fit(tmp_path, steps=6)
    held = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    settled = {f.name for f in dataclasses.fields(Settings)} - {"save_seconds", "device"}
    assert settled == {name for name, _ in _changes() if not name.startswith("the ")}
    for name, (system, of, seed, source, settings) in _changes():
        with pytest.raises(UsageError, match=f"another run.*{name}.*use another folder"):
            train(system, by.build(of, seed=seed), source, settings, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == held
    rest = {"log_every": 3, "save_seconds": 1.0}  # how often it is saved is not what it is
    assert train(SPEC, by.build(SPEC), Noise(), Settings(steps=6, lr=3e-3, **rest), tmp_path).status == "finished"
    tensors, facts = checkpoint.latest(tmp_path)
    earlier = {name: value for name, value in facts["continues"].items() if name != "optimiser"}
    checkpoint.write(tmp_path, 7, tensors, facts | {"continues": earlier})
    fit(tmp_path, steps=6)  # from when there was one optimiser
    checkpoint.write(tmp_path, 8, tensors, {k: v for k, v in facts.items() if k != "continues"})
    with pytest.raises(UsageError, match="another run"):  # one that does not say what it continues
        fit(tmp_path, steps=6)


TWO = SPEC.but(
    program=(phase(objective("next_token"), share=0.5, train="stem.*"), phase(objective("next_token"), share=0.5))
)


def test_moments_and_what_an_objective_learned_cross_the_border_of_phases():
    model = by.build(SPEC)
    run = Run(TWO, model, Noise(), Settings(steps=8, lr=1e-2))
    for _ in range(4):
        run.advance()
    (before,) = [run.moments[p]["exp_avg"].clone() for n, p in model.named_parameters() if n == "stem.table"]
    asked = run.objective
    run.enter(1)
    after = {n: run.optimiser.state[p].get("exp_avg") for n, p in model.named_parameters()}
    assert before.abs().max() > 0 and torch.equal(after["stem.table"], before)
    assert run.objective is asked and all(m is None for n, m in after.items() if n != "stem.table")
    run.advance()
    assert {int(run.moments[p]["step"]) for p in model.parameters()} == {1, 5}


class Statistic(Objective):
    """An objective with a weight and a running buffer of its own, both moved by every step."""

    def __init__(self, seed):
        super().__init__()
        self.seed = seed
        self.weight = torch.nn.Parameter(torch.randn(3, generator=torch.Generator().manual_seed(seed)))
        self.seen = torch.nn.Buffer(torch.zeros(()))
        self.inner = make("objective:next_token", dim=8)

    def counts(self, batch):
        return self.inner.counts(batch) | {"own": torch.tensor(1)}

    def forward(self, model, batch):
        with torch.no_grad():
            self.seen += 1
            model.steps[0].part.seen += self.seen
        own = (self.weight - model.steps[0].part.seen).square().sum()
        return self.inner(model, batch) | {"own": (own, torch.tensor(1), 0.1)}


def observed(monkeypatch):
    """Runs whose model and objective hold buffers that training moves and the loss reads."""
    made = []

    def build_objective(spec, model, seed=0):
        made.append(Statistic(seed))
        return made[-1]

    monkeypatch.setattr(loop, "build_objective", build_objective)

    def start():
        model = by.build(SPEC)
        model.steps[0].part.seen = torch.nn.Buffer(torch.zeros(()))
        return model

    return start, made


def test_a_run_goes_on_with_its_buffers_objectives_and_the_moments_of_paused_parameters(tmp_path, monkeypatch):
    start, made = observed(monkeypatch)
    program = (
        phase(objective("next_token"), share=1 / 3),
        phase(objective("next_token"), share=1 / 3, train="stem.*"),
        phase(objective("next_token"), share=1 / 3),
    )
    spec = SPEC.but(program=program)
    settings = Settings(steps=12, lr=3e-3, log_every=1, save_seconds=0.0)
    whole = start()
    done = train(spec, whole, Noise(), settings)
    assert int(whole.steps[0].part.seen) == sum(range(1, 13)) and len(made) == 1
    for stop in (3, 6, 9):

        def watch(step, loss, stop=stop):
            if step == stop:
                raise Interrupt

        folder = tmp_path / str(stop)
        with pytest.raises(Interrupt):
            train(spec, start(), Noise(), settings, folder, watch)
        model = start()
        again = train(spec, model, Noise(), settings, folder)
        assert same(whole, model) and again.curve == done.curve
        assert torch.equal(model.steps[0].part.seen, whole.steps[0].part.seen)
        assert torch.equal(made[-1].weight, made[0].weight) and int(made[-1].seen) == 12


def test_an_objective_starts_from_the_seed_of_its_run(monkeypatch):
    start, made = observed(monkeypatch)
    for seed in (1, 1, 2):
        Run(SPEC, start(), Noise(), Settings(steps=1, lr=1e-3, seed=seed)).advance()
    first, second, third = (m.seed for m in made)
    assert first == second != third


def test_a_loss_that_is_no_number_fails_the_run(tmp_path):
    model = by.build(SPEC)
    model.stem.table.data[:] = float("nan")
    result = train(SPEC, model, Noise(), Settings(steps=5, lr=1e-3), tmp_path)
    assert result.status == "failed" and "nan" in result.reason and result.steps == 0


class Asks:
    """Batches of which only some ask for anything; what asks nothing is written as any number below zero."""

    def __init__(self, asking, nothing=-1):
        self.asking, self.nothing = asking, nothing

    def next(self, step):
        ids = np.random.default_rng(step).integers(0, 64, (4, 17))
        tokens, targets = ids[:, :-1].copy(), ids[:, 1:].copy()
        targets[:, ::2] = self.nothing
        targets[1] = self.nothing  # a whole micro-batch
        asked = targets if step in self.asking else np.full_like(targets, self.nothing)
        return {"tokens": tokens, "targets": asked}


@pytest.mark.parametrize("micro", [None, 1])
def test_a_batch_without_a_target_changes_nothing(micro):
    model = by.build(SPEC)
    result = train(SPEC, model, Asks({0, 3, 4}), Settings(steps=6, lr=3e-3, log_every=2, micro=micro))
    assert result.status == "finished" and result.steps == 6
    assert [step for step, _ in result.curve] == [2, 4, 6] and all(np.isfinite(loss) for _, loss in result.curve)
    run, other = Run(SPEC, by.build(SPEC), Asks({0}), Settings(steps=6, lr=3e-3)), by.build(SPEC)
    losses = [run.advance() for _ in range(3)]
    single = Run(SPEC, other, Asks({0}), Settings(steps=6, lr=3e-3))
    assert losses[0] == single.advance() and losses[1:] == [None, None]
    assert same(run.model, other), "no weight decays and no moment fades"
    mean = train(SPEC, by.build(SPEC), Asks({0}), Settings(steps=6, lr=3e-3, log_every=2))
    assert mean.curve == ((2, losses[0]),)


def test_a_run_that_is_never_asked_fails_with_a_reason():
    result = train(SPEC, by.build(SPEC), Asks(set()), Settings(steps=3, lr=1e-3))
    assert result.status == "failed" and "no batch asked" in result.reason


def test_every_number_below_zero_asks_nothing():
    models = []
    for nothing in (-1, -100, -7):
        models.append(by.build(SPEC))
        train(SPEC, models[-1], Asks({0, 1}, nothing), Settings(steps=2, lr=1e-3))
    assert same(models[0], models[1]) and same(models[0], models[2])


def test_out_of_memory_halves_the_micro_batch_and_keeps_the_numbers(monkeypatch):
    plain, _ = fit(steps=3)
    accumulate = Run._accumulate

    def tight(self, batch, micro):
        if micro > 2:
            raise torch.OutOfMemoryError("no room")
        return accumulate(self, batch, micro)

    monkeypatch.setattr(Run, "_accumulate", tight)
    model, result = fit(steps=3)
    assert result.status == "finished" and same(plain, model, 1e-5)


def test_decay_falls_on_projections_only():
    model = by.build("gated_deltanet", "tiny")
    objective_ = loop.build_objective(SPEC["program"][0]["objective"], model)
    optimiser = adamw(model, trained(model, objective_), lr=1e-3, decay=0.1)
    names = {id(p): n for n, p in model.named_parameters()}
    decayed = {names[id(p)] for group in optimiser.param_groups if group["weight_decay"] for p in group["params"]}
    assert decayed == {n for n in names.values() if n.endswith("weight") and "conv" not in n}
    with pytest.raises(UsageError):
        trained(model, objective_, "nothing.*")


def rates(name, steps):
    factor = schedule(name)
    return [factor(step / steps, (step + 1) / steps) for step in range(steps)]


@pytest.mark.parametrize("name", SCHEDULES)
def test_however_short_a_run_is_a_step_has_the_whole_rate_and_none_has_nothing(name):
    for steps in (1, 2, 3, 4, 7, 10, 11, 30, 100):
        found = rates(name, steps)
        assert max(found) == pytest.approx(1) and min(found) > 0.01, (steps, found)
        top = found.index(max(found))
        assert found[:top] == sorted(found[:top]) and found[top:] == sorted(found[top:], reverse=True)
    model = by.build(SPEC)
    train(SPEC, model, Noise(), Settings(steps=1, lr=1e-3, schedule=name))
    assert not same(model, by.build(SPEC), 1e-4), "one step moves the weights by about the rate"


def test_schedules_and_precision():
    curve = rates("cosine", 100)
    assert curve[:10] == pytest.approx([i / 10 for i in range(1, 11)]) and curve[-1] == pytest.approx(0.1, abs=1e-3)
    assert cosine()(1.0, 1.0) == pytest.approx(0.1) and cosine()(0.55, 0.56) == pytest.approx(0.55)
    flat = warmup_stable_decay()
    assert flat(0.04, 0.05) == 0.5 and flat(0.5, 0.51) == 1 and flat(0.9, 0.91) == pytest.approx(0.5)
    assert flat(1.0, 1.0) == 0 and rates("wsd", 100)[-1] == pytest.approx(0.05)
    with pytest.raises(UsageError, match="cosine"):
        schedule("cosin")
    assert choose(None, "cpu", 64) == "float32" and choose("bfloat16", "cpu", 64) == "bfloat16"
    with pytest.raises(UsageError):
        choose("float8", "cpu", 64)


def test_bfloat16_follows_float32():
    _, wide = fit(steps=12)
    _, narrow = fit(steps=12, precision="bfloat16")
    assert abs(wide.curve[-1][1] - narrow.curve[-1][1]) < 0.05


def test_damaged_checkpoints_are_passed_over(tmp_path):
    tensors = {"a": torch.arange(5.0)}
    for step in (1, 2, 3, 4):
        checkpoint.write(tmp_path, step, tensors, {"step": step})
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["step-000000003.ckpt", "step-000000004.ckpt"]
    newest = tmp_path / "step-000000004.ckpt"
    content = newest.read_bytes()
    for bad in (content[:-3], content[:10], b"", content[:-1] + b"x"):
        newest.write_bytes(bad)
        assert checkpoint.latest(tmp_path)[1] == {"step": 3}
    newest.write_bytes(content)
    found, facts = checkpoint.latest(tmp_path)
    assert facts == {"step": 4} and torch.equal(found["a"], tensors["a"])


WRITER = """
import sys, torch
from pathlib import Path
from blockyard.train import checkpoint
step = 0
print("ready", flush=True)
while True:
    step += 1
    checkpoint.write(Path(sys.argv[1]), step, {"a": torch.full((200_000,), float(step))}, {"step": step})
"""


@pytest.mark.parametrize("kills", [3, pytest.param(200, marks=pytest.mark.slow)])
def test_a_killed_writer_never_leaves_a_corrupt_or_missing_checkpoint(tmp_path, kills):
    draw, newest = random.Random(7), 0
    for _ in range(kills):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
        writer.stdout.readline()
        time.sleep(draw.uniform(0.01, 0.15))
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        found = checkpoint.latest(tmp_path)
        if found is None:
            assert newest == 0
            continue
        tensors, facts = found
        assert bool((tensors["a"] == facts["step"]).all()) and facts["step"] >= 1
        for path in tmp_path.glob("step-*.ckpt"):
            assert checkpoint.read(path) is not None
        newest = facts["step"]
        for path in tmp_path.glob("step-*"):
            path.unlink()
        newest = 0


def test_settings_are_plain_data():
    assert json.loads(json.dumps(dataclasses.asdict(Settings(steps=1, lr=0.1))))["lr"] == 0.1
    assert os.path.exists(loop.__file__)


def test_the_next_token_is_what_is_asked():
    """Without targets every token but the last is asked for the next one, with its mean in nats."""
    model = by.build("llama", "tiny").double()
    tokens = torch.randint(0, 256, (2, 7), generator=torch.Generator().manual_seed(5))
    total, count = build_objective(objective("next_token"), model)(model, by.Batch(tokens))["next_token"][:2]
    odds = model(tokens).logits[:, :-1].log_softmax(-1)
    wanted = -odds.gather(2, tokens[:, 1:, None]).sum()
    assert int(count) == 12 and torch.allclose(total.double(), wanted, atol=1e-5)


def test_padding_is_not_asked_and_token_zero_is():
    part, model = make("objective:next_token", dim=8), by.build("llama", "tiny")
    batch = by.Batch(torch.tensor([[5, 0, 7, 0]]), valid=torch.tensor([[True, True, True, False]]))
    assert part.targets(batch).tolist() == [[0, 7, -1, -1]]
    assert part.counts(batch)["next_token"] == part(model, batch)["next_token"][1] == 2
