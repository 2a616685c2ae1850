"""What must hold of rates that carry over: roles from axes, movement by width, sharpness."""

import numpy as np
import pytest
import torch
from system_cases import tokens

import blockyard as by
from blockyard.check import check
from blockyard.core import registry
from blockyard.optimiser.mup import mup, reads_width
from blockyard.probe.sharpness import curvature, largest, sharpness_probe
from blockyard.systems import parse_arm
from blockyard.train import coordinates as module
from blockyard.train.coordinates import Coordinates, coordinates
from blockyard.train.loop import Settings, train

SMALL = dict(dim=32, layers=1, heads=1, vocab=64)


class Rows:
    """Batches that are a function of the step."""

    def next(self, step):
        return np.random.default_rng(step).integers(0, 64, (4, 17))


def trained(system, steps=3):
    model = by.build(system, seed=0)
    return train(system, model, Rows(), Settings(steps=steps, lr=1e-2)).model


def sized(width):
    return by.spec("mup", "tiny", dim=width)


def test_at_the_base_width_it_is_plain_training():
    """(1) to the bit; at another width it is not."""
    for base, same in ((32, True), (16, False)):
        own = by.spec("mup", **SMALL, base=base)
        plain = own.but(optimiser=by.Spec("optimiser", "adamw"))
        pairs = zip(trained(own).parameters(), trained(plain).parameters())
        assert all(torch.equal(a, b) for a, b in pairs) == same


def test_roles_follow_from_named_axes():
    """Inputs that grow with the width: of hidden matrices and a head; not of tables, norms, or what reads few."""
    model = by.build("llama", **SMALL, tied=False, ffn=48)
    wide = reads_width(model)
    assert wide == {
        "steps.0.part.qkv.weight", "steps.0.part.out.weight", "steps.1.part.up.weight", "head.table",
    }  # fmt: skip
    assert "steps.1.part.down.weight" in reads_width(by.build("llama", **SMALL))
    made = mup(model, dict(model.named_parameters()), lr=0.1, decay=0.2, base=8)
    of = {id(p): group for group in made.param_groups for p in group["params"]}
    params = dict(model.named_parameters())
    for name, factor, decay in (
        ("steps.0.part.qkv.weight", 0.25, 0.8), ("steps.1.part.down.weight", 1.0, 0.2), ("stem.table", 1.0, 0.0),
        ("steps.0.rule.norm.gain", 1.0, 0.0), ("head.table", 0.25, 0.8),
    ):  # fmt: skip
        assert (of[id(params[name])]["factor"], of[id(params[name])]["weight_decay"]) == (factor, decay), name


def test_a_run_scales_the_rate_of_each_role():
    """One step of the loop: a matrix of a model four times as wide as the base moves a quarter as far."""
    system = by.spec("mup", **SMALL, base=8)
    before = by.build(system, seed=0)
    after = train(system, by.build(system, seed=0), Rows(), Settings(steps=1, lr=1e-2, weight_decay=0.0)).model
    moved = {
        name: (dict(after.named_parameters())[name] - p).detach().abs().max() for name, p in before.named_parameters()
    }
    assert moved["stem.table"] == pytest.approx(1e-2, rel=1e-2)
    assert moved["steps.0.part.qkv.weight"] == pytest.approx(0.25e-2, rel=1e-2)


def test_coordinates_move_alike_at_every_width():
    """(2) slopes within 0.1 under muP, above 0.3 under the standard parametrisation at the same rate."""
    small = dict(widths=(32, 128, 256), seeds=1)
    wide, plain = coordinates(sized, **small), coordinates(sized, optimiser=by.Spec("optimiser", "adamw"), **small)
    inside = [place for place in wide.slopes if place != "out"]
    assert inside == [f"steps.{step}" for step in range(4)]
    assert all(abs(wide.slopes[place]) < 0.1 and wide.carries(place) for place in inside)
    assert all(plain.slopes[place] > 0.3 and not plain.carries(place) for place in inside)


def test_slopes_are_powers_of_the_width():
    found = Coordinates((2, 4, 8), {"a": [3.0, 6.0, 12.0], "out": [8.0, 4.0, 2.0], "b": [8.0, 4.0, 2.0]})
    assert found.slopes == pytest.approx({"a": 1.0, "out": -1.0, "b": -1.0})
    assert [found.carries(place) for place in ("a", "out", "b")] == [False, True, False]
    with pytest.raises(by.UsageError, match="two widths"):
        coordinates(sized, widths=(32,))


def test_movement_is_the_mean_over_seeds_of_a_few_steps_from_fresh_numbers(monkeypatch):
    """Of the mean sizes of what changed; with nothing said five steps at 1e-2, two seeds, four widths."""
    found = coordinates(sized, widths=(16, 32), steps=1, seeds=2)
    one = [module._moved(sized(32), sized(32)["optimiser"], 1, 1e-2, seed) for seed in (0, 1)]
    for place, (_, wide) in found.moved.items():
        assert wide == pytest.approx((one[0][place] + one[1][place]) / 2) and one[0][place] != one[1][place]
    asked = []
    monkeypatch.setattr(module, "_moved", lambda *given: asked.append(given) or {"out": 1.0})
    assert coordinates(sized).moved == {"out": [1.0] * 4}
    assert [(given[0]["model"]["dim"], *given[2:]) for given in asked] == [
        (width, 5, 1e-2, seed) for width in (32, 64, 128, 256) for seed in (0, 1)
    ]
    assert coordinates(lambda width: by.spec("llama", "tiny", dim=width), widths=(8, 16)).slopes == {"out": 0.0}
    assert asked[0][1].name == "mup" and asked[-1][1].name == "adamw"


@torch.no_grad()
def test_scores_shrink_with_the_root_of_the_width():
    """(3) at first: as n^(-1/2) under muP; without its factor they do not."""
    ids, spread = tokens(4, 16, 64), {}
    for dim in (32, 128, 512):
        both = (by.build("mup", layers=1, vocab=64, dim=dim, base=base) for base in (32, dim))
        others = ~torch.nn.functional.one_hot(ids, 64).bool()  # a tied table scores the token itself by its own size
        spread[dim] = [float(made(ids).logits[others].std()) for made in both]
    for narrow, wide in ((32, 128), (128, 512)):
        assert spread[wide][0] / spread[narrow][0] == pytest.approx(0.5, rel=0.15)
        assert spread[wide][1] / spread[narrow][1] == pytest.approx(1.0, rel=0.15)


def test_the_largest_eigenvalue_and_products_are_right():
    """(4) of a known quadratic to 1e-4; H v of a small model by finite differences."""
    draw = torch.Generator().manual_seed(0)
    q, _ = torch.linalg.qr(torch.randn(12, 12, generator=draw, dtype=torch.float64))
    values = torch.linspace(-2.0, 5.0, 12, dtype=torch.float64)
    x = torch.zeros(12, dtype=torch.float64, requires_grad=True)
    value, left = largest(lambda: 0.5 * x @ (q * values) @ q.T @ x, [x], steps=120)
    assert value == pytest.approx(5.0, abs=1e-4) and left < 1e-2
    model, rows = by.build("llama", dim=8, layers=1, heads=1, vocab=16).double(), tokens(2, 9, 16)
    params = list(model.parameters())
    v = [torch.randn(p.shape, generator=draw, dtype=p.dtype) for p in params]

    def loss():
        return torch.nn.functional.cross_entropy(model(rows[:, :-1]).logits.flatten(0, 1), rows[:, 1:].flatten())

    def slopes(step):
        with torch.no_grad():
            for p, each in zip(params, v):
                p.add_(step * each)
        found = torch.autograd.grad(loss(), params)
        with torch.no_grad():
            for p, each in zip(params, v):
                p.sub_(step * each)
        return found

    for exact, up, down in zip(curvature(loss, params, v), slopes(1e-5), slopes(-1e-5)):
        assert torch.allclose(exact, (up - down) / 2e-5, rtol=1e-4, atol=1e-7)
    by_default, known = sharpness_probe(model, rows), largest(loss, params, 30, seed=0)
    assert (float(by_default["largest"]), float(by_default["left"])) == known and known[0] > 0
    assert sharpness_probe(model, rows[:, :2], steps=1)["largest"].shape == ()
    with pytest.raises(by.UsageError, match="rows of 2 tokens"):
        sharpness_probe(model, rows[:, :1])


def test_descent_settles_at_the_edge_of_stability():
    """(5) full-batch descent at a rate: the largest eigenvalue rises to about 2 / rate."""
    draw, rate = torch.Generator().manual_seed(1), 0.1
    x = torch.randn(16, 4, generator=draw, dtype=torch.float64)
    y = torch.sin(3 * x @ torch.randn(4, 1, generator=draw, dtype=torch.float64))
    channel = by.make("channel:mlp", dim=4, inner=24, seed=2).double()
    out = (0.2 * torch.randn(4, 1, generator=draw, dtype=torch.float64)).requires_grad_()
    params = [*channel.parameters(), out]

    def loss():
        return (channel(x[None])[0][0] @ out - y).square().mean()

    make = registry.find("optimiser", "sgd").load_named()
    rule = make(by.build("llama", "tiny"), {f"x.{i}": p for i, p in enumerate(params)}, lr=rate)
    first, seen = largest(loss, params, 15)[0], []
    for step in range(801):
        rule.zero_grad()
        loss().backward()
        rule.step()
        if step >= 400 and step % 100 == 0:
            seen.append(largest(loss, params, 15)[0])
    assert first < 0.3 * 2 / rate
    assert np.mean(seen) == pytest.approx(2 / rate, rel=0.2)


def test_an_arm_names_its_optimiser():
    arm = parse_arm("llama:heads=2@mup:base=32|quantise:bits=4")
    assert arm.label == "llama@mup:base=32|quantise:bits=4" and arm.optimiser == by.Spec.of(
        "optimiser", "mup", {"base": 32}
    )
    assert parse_arm("a=llama@mup").label == "a" and parse_arm("llama").optimiser is None
    for bad, words in (
        ("llama@", "stands before an optimiser"), ("llama@mupp", "did you mean mup"),
        ("llama@mup:lr=1", "is said by the run"), ("llama@mup:base=0", "base=0 must be"),
    ):  # fmt: skip
        with pytest.raises(by.UsageError, match=words):
            parse_arm(bad)
    assert all(verdict.ok for _, verdict in check("optimiser:sgd:momentum=0.9"))
