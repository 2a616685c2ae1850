"""Every optimiser: it learns, goes on to the bit, decays projections alone, and keeps as much as it says."""

import sys

import numpy as np
import pytest
import torch

import blockyard as by
from blockyard.core import registry
from blockyard.core.spec import objective, phase
from blockyard.model.count import count, optimiser_bytes, stages
from blockyard.optimiser.muon import body_projections
from blockyard.systems import parse_arm, parse_optimiser
from blockyard.train.loop import Run, Settings, train

ENTRIES = registry.entries("optimiser")
SETTINGS = {"soap": {"every": 3}, "sgd": {"momentum": 0.9}}
SPEC = by.spec("gated_deltanet", "tiny")
TWO = (phase(objective("next_token"), share=0.5, train="stem.*"), phase(objective("next_token"), share=0.5))


class Noise:
    """Batches that are a function of the step."""

    def next(self, step):
        return np.random.default_rng(step % 2).integers(0, 64, (4, 17))


class Interrupt(Exception):
    pass


@pytest.fixture(params=ENTRIES)
def name(request):
    package = ENTRIES[request.param].constant("package")
    if package:
        pytest.importorskip(package)
    return request.param


def spec_of(name):
    return by.Spec.of("optimiser", name, SETTINGS.get(name, {}))


def scale(name):
    return ENTRIES[name].constant("rates", 1.0)


def made(name, model, **rule):
    own = SETTINGS.get(name, {}) | {"lr": 1e-2 * scale(name), "decay": 0.1} | rule
    return ENTRIES[name].load_named()(model, dict(model.named_parameters()), **own)


def fit(system, name, folder=None, stop=None):
    def watch(step, loss):
        if step == stop:
            raise Interrupt

    model = by.build(system, seed=0)
    settings = Settings(steps=12, lr=5e-3 * scale(name), log_every=3, save_seconds=0.0)
    return model, train(system, model, Noise(), settings, folder, watch)


def same(a, b):
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters()))


@pytest.mark.parametrize("program", [SPEC["program"], TWO], ids=["one phase", "two phases"])
def test_it_learns_and_an_interrupted_run_goes_on_to_the_same_bits(tmp_path, name, program):
    system = SPEC.but(optimiser=spec_of(name), program=program)
    whole, done = fit(system, name)
    assert done.curve[-1][1] < done.curve[0][1]
    with pytest.raises(Interrupt):
        fit(system, name, tmp_path, stop=9)
    again, resumed = fit(system, name, tmp_path)
    assert same(whole, again) and resumed.curve == done.curve
    finished, _ = fit(system, name, tmp_path)
    assert same(whole, finished)


def test_without_gradients_projections_alone_move_and_by_the_same_share(name):
    """A step takes away the rate of the grid times the decay, whatever the rates of an optimiser are."""
    model = by.build(SPEC, seed=0).double()
    before = {path: p.detach().clone() for path, p in model.named_parameters()}
    rule = made(name, model)
    for _ in range(3):
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
        rule.step()
    moved = {path for path, p in model.named_parameters() if not torch.equal(p, before[path])}
    assert moved == {use.path for use in model.uses if use.decay and not use.of}
    scaled = "mup", "paced"  # by the loop
    if name not in ("soap", "schedulefree", "sgd", *scaled):  # a first step is none, averages, momentum of decay
        held = dict(model.named_parameters())
        assert all(torch.allclose(held[path], before[path] * (1 - 1e-3) ** 3, rtol=1e-12) for path in moved)


def test_it_keeps_as_much_as_it_says_and_leaves_gradients_alone(name):
    system = SPEC.but(optimiser=spec_of(name))
    model = by.build(system, seed=0)
    rule = made(name, model)
    for _ in range(3):
        given = [torch.randn_like(p) for p in model.parameters()]
        for p, grad in zip(model.parameters(), given):
            p.grad = grad.clone()
        rule.step()
        assert all(torch.equal(p.grad, grad) for p, grad in zip(model.parameters(), given))
    kept = sum(value.numel() for state in rule.state.values() for value in state.values() if value.dim())
    assert optimiser_bytes(stages(system)[-1], system["optimiser"]) == 4 * kept
    plain, own = count(SPEC, 16), count(system, 16)
    assert own.training_bytes - plain.training_bytes == 4 * kept - 8 * plain.params


def test_the_body_is_made_orthogonal_and_the_rest_is_adams():
    model = by.build("llama", dim=32, layers=1, heads=1, vocab=64, tied=False, ffn=48).double()
    inside = body_projections(model)
    assert inside == {
        "steps.0.part.qkv.weight", "steps.0.part.out.weight", "steps.1.part.up.weight", "steps.1.part.down.weight",
    }  # fmt: skip
    before = {path: p.detach().clone() for path, p in model.named_parameters()}
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    made("muon", model, lr=1.0, decay=0.0).step()
    for path, p in model.named_parameters():
        step = before[path] - p.detach()
        if path in inside:
            values = torch.linalg.svdvals(step) / (0.2 * max(step.shape) ** 0.5)
            assert values.quantile(0.1) > 0.5 and values.max() < 1.5, path  # of the gradient: from 0.2 of the largest
        else:
            assert torch.allclose(step.abs(), torch.ones_like(step), rtol=1e-4), path


@pytest.mark.parametrize("recipe", ["vit", "gated_deltanet", "mosaicbert"])
def test_ends_and_what_is_no_matrix_are_outside_the_body(recipe):
    model = by.build(recipe, "tiny")
    inside, held = body_projections(model), dict(model.named_parameters())
    ends = {id(p) for end in (model.stem, model.head) for p in end.parameters()}
    projects = {use.path for use in model.uses if use.reads is not None and use.decay and not use.of}
    assert inside == {path for path in projects if held[path].dim() == 2 and id(held[path]) not in ends} and inside


def test_the_model_of_a_run_is_the_average():
    """y = 0.9 x + 0.1 z: the run trains at y and leaves x."""
    pytest.importorskip("pytorch_optimizer")
    system = SPEC.but(optimiser=spec_of("schedulefree"))
    settings = Settings(steps=8, lr=5e-3)
    run = Run(system, by.build(system, seed=0), Noise(), settings)
    for _ in range(8):
        run.advance()
    left = train(system, by.build(system, seed=0), Noise(), settings).model
    assert not same(left, run.model)
    for x, y in zip(left.parameters(), run.model.parameters()):
        assert torch.allclose(0.9 * x + 0.1 * run.moments[y]["z"], y, atol=1e-6)


def test_a_system_names_its_schedule():
    """Whatever the run says: as if the run had said so; and an optimiser may have one by itself."""
    plain = by.build(SPEC, seed=0)
    train(SPEC, plain, Noise(), Settings(steps=8, lr=5e-3, schedule="wsd"))
    own = SPEC.but(schedule="wsd")
    assert own.hash != SPEC.hash and by.Spec.from_json(own.to_json()) == own
    assert same(plain, train(own, by.build(own, seed=0), Noise(), Settings(steps=8, lr=5e-3)).model)
    assert not same(plain, train(SPEC, by.build(SPEC, seed=0), Noise(), Settings(steps=8, lr=5e-3)).model)
    seen = []
    for system in (SPEC.but(optimiser=spec_of("sgd"), schedule="constant"), SPEC.but(optimiser=spec_of("sgd"))):
        run = Run(system, by.build(system, seed=0), Noise(), Settings(steps=8, lr=1.0))
        for _ in range(8):
            run.advance()
        seen.append(run.optimiser.param_groups[0]["lr"])
    assert seen[0] == 1.0 and seen[1] < 0.2


def test_what_an_arm_says_of_its_schedule():
    arm = parse_arm("llama@sgd:schedule=wsd,momentum=0.5")
    assert (arm.schedule, arm.optimiser) == ("wsd", by.Spec.of("optimiser", "sgd", {"momentum": 0.5}))
    assert parse_optimiser("adamw") == (by.Spec("optimiser", "adamw"), None)


def test_a_library_that_is_missing_is_named_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_optimizer", None)
    words = r"^optimiser:lion needs a library: pip install 'blockyard\[optimisers\]'$"
    with pytest.raises(by.UsageError, match=words):
        parse_arm("llama@lion")
    system = SPEC.but(optimiser=spec_of("lion"))
    with pytest.raises(by.UsageError, match=words):
        train(system, by.build(system), Noise(), Settings(steps=1, lr=1e-3))
    assert parse_arm("llama@muon").optimiser == by.Spec("optimiser", "muon")
