"""What must hold of functions of a fixed representation, of a model in slices, of what is pasted, and of the probe."""

from functools import partial
from zlib import crc32

import numpy as np
import pytest
import torch

import blockyard as by
from blockyard.core import Batch, UsageError
from blockyard.core.draw import Draw
from blockyard.family.composed import Composed
from blockyard.family.dense import Dense
from blockyard.model.count import count_params
from blockyard.predictor import along, ridge
from blockyard.predictor.linear import linear
from blockyard.probe import token_readout_probe
from blockyard.probe.token_readout import explained
from blockyard.task import make_task
from blockyard.task._exercise import Exercise
from blockyard.train.loop import Run, Settings
from blockyard.transform._base import make_transform

PLAIN = "in_context:dim=3,points=6,family="


def fitted(name="llama", family="composed", **settings):
    """A system with the ends of the task, and the task."""
    material = Exercise("", make_task(f"{PLAIN}{family}"))
    return material.fit(by.spec(name, "tiny", **settings)), material


def test_without_layers_it_is_plain_regression():
    """(1) composed(depth=0) gives the rows of dense, and its rule, to the bit; with one layer it does not."""
    plain, none, one = (make_task(f"{PLAIN}{each}") for each in ("dense", "composed(depth=0)", "composed(depth=1)"))
    for a, b in zip(plain.sample(3, 20), none.sample(3, 20)):
        assert np.array_equal(a, b, equal_nan=True)
    tokens = plain.sample(3, 20).tokens
    assert np.abs(none.solve(tokens) - plain.solve(tokens)).max() < 1e-12
    assert np.array_equal(one.sample(3, 20).tokens[..., 1:], tokens[..., 1:])
    assert not np.array_equal(one.sample(3, 20).tokens, tokens)


def test_the_representation_never_changes():
    """(2) it is the same for every prompt and seed of the data, and another one for another seed of its own."""
    x = Draw(0, 5).normal(4, 3)
    phi = Composed(3).features(x)
    assert np.array_equal(Composed(3).features(x), phi) and np.array_equal(Composed(3).features(x[2:]), phi[2:])
    family = Composed(3)
    family.drawn(9, x)
    assert np.array_equal(family.features(x), phi)
    assert np.abs(Composed(3, seed=1).features(x) - phi).max() > 0.1
    y = family.drawn(4, x)
    weights = Draw(4, 5, stream=crc32(b"dense")).normal(1, 3)
    assert np.abs(y - (weights * phi).sum(-1) * 3**-0.5).max() < 1e-12, "labels are linear in it"


@pytest.mark.parametrize("name", ["llama", "gla"])
def test_slices_are_the_whole(name):
    """(3) steps up to j, then those from j on, give what all together give, to the bit, at every j."""
    system, material = fitted(name)
    model, tokens = by.build(system), torch.from_numpy(material.held.exams["tune"].tokens[:3])
    with torch.no_grad():
        whole = model(Batch(tokens)).prediction["values"]
        for j in range(1, len(model.steps)):
            flow = model.run(model.start(Batch(tokens)), range(j))
            assert torch.equal(model.finish(model.run(flow, range(j, len(model.steps)))).prediction["values"], whole)
            assert not torch.equal(model.finish(flow).prediction["values"], whole)


def test_what_is_pasted_stays_and_has_no_gradient():
    """(4) to the bit what the first phase left, while the stem learns; the layer below is gone."""
    system, material = fitted("icl_representations", "dense", layers=3, pretraining=0.5)
    loop = Run(system, by.build(system), material.order(12, 8, 0), Settings(steps=6, lr=1e-2))
    for _ in range(3):
        loop.advance()
    learned = {name: p.detach().clone() for name, p in loop.model.named_parameters()}
    loop.advance()
    first = loop.model.stem.proj.weight.detach().clone()
    loop.advance()
    for name, p in loop.model.named_parameters():
        words = name.split(".")
        before = ".".join([words[0], str(int(words[1]) + 2), *words[2:]]) if words[0] == "steps" else name
        if words[0] == "stem":
            assert p.grad.abs().max() > 0
        else:
            assert torch.equal(p, learned[before]) and p.grad is None and not p.requires_grad, name
    assert not torch.equal(loop.model.stem.proj.weight, first) and len(loop.model.steps) == 4
    assert not torch.equal(first, learned["stem.proj.weight"])


def test_the_paste():
    """(4) what is kept is kept to the bit, all else is as another seed draws it, and its moments begin anew."""
    system, _ = fitted()
    model = by.build(system, seed=1)
    done = make_transform("paste:seed=5").apply(model)
    drawn = by.build(system, seed=5)
    for name, tensor in done.model.named_parameters():
        source = model if name.startswith("steps.") else drawn
        assert torch.equal(tensor, source.get_parameter(name)), name
        assert (name in done.lineage) != name.startswith("steps.")
    assert not torch.equal(done.model.stem.proj.weight, model.stem.proj.weight)
    with pytest.raises(UsageError, match="no tensor stands at"):
        make_transform("paste:keep=('stem.table',)").apply(model)
    with pytest.raises(UsageError, match="leave something"):
        make_transform("paste:keep=('*',)").plan(model)


def test_ridge_on_the_representation_is_better():
    """(5) with more examples than numbers, for every depth from 1; it is the rule that the family itself says."""
    for depth in (1, 2, 3):
        family, draw = Composed(4, depth=depth), Draw(depth, 400)
        x = draw.normal(10, 4)
        y = family.drawn(7, x) + 0.2 * draw.normal(10)
        phi, penalty = family.features(x), 4 * 0.2**2
        rule = linear(partial(ridge, penalty=penalty))
        on_phi, on_x = (np.square(along(rule, z, y) - y)[:, 5:].mean() for z in (phi, x))
        assert on_phi < 0.6 * on_x
        told = along(lambda a, b, q, of=family: of.posterior(a, b, q, 0.2)[1], x, y)
        assert np.abs(told - along(rule, phi, y)).max() < 1e-8
    x = Draw(0, 300).normal(10, 4)
    y = Dense(4).drawn(1, x)
    assert np.array_equal(Composed(4, depth=0).drawn(1, x), y)


def test_the_probe_finds_what_is_there_and_no_more():
    """(6) a layer's own channels are read at their place; of shuffled goals no more than a twentieth is."""
    system, _ = fitted()
    model, tokens = by.build(system), make_task(f"{PLAIN}composed").sample(5, 300).tokens
    phi = Composed(3).features(tokens[:, ::2, 1:].astype(float))
    found = token_readout_probe(model, tokens, {"phi": phi, "x": tokens[:, ::2, 1:]})
    paths = ["stem", *(step.part.path for step in model.steps)]
    ends = [f"{goal} at {place}{s}" for goal in ("phi", "x") for place in "xy" for s in ("", " shuffled")]
    assert list(found) == [f"{path}:{end}" for path in paths for end in ends]
    assert max(value for name, value in found.items() if name.endswith("shuffled")) <= 0.05
    assert found["stem:x at x"] > 0.95 > 0.9 > found["stem:phi at x"] and found["stem:x at y"] < 0.05
    draw = torch.Generator().manual_seed(0)
    h = torch.randn(80, 5, 9, generator=draw, dtype=torch.float64)
    goal = h @ torch.randn(9, 2, generator=draw, dtype=torch.float64)
    assert explained(h, goal) > 0.99 and explained(h, goal.roll(1, 0)) < 0.05
    assert set(token_readout_probe(model, tokens[:9])) > {"stem:ridge at x", "stem:x at y shuffled"}
    with pytest.raises(UsageError, match="goal 'w' must be"):
        token_readout_probe(model, tokens[:9], {"w": np.zeros((9, 3))})


def test_the_recipe_pastes_the_top():
    """(4) so many layers are left as are pasted or stand under them; wrong numbers of layers are refused."""
    for under, left in ((0, 2), (1, 3)):
        system, _ = fitted("icl_representations", layers=3, pasted=2, under=under)
        *_, last = system["program"]
        assert [each.name for each in last["apply"]] == (["cut", "paste"] if under == 0 else ["paste"])
        assert set(last["train"]) == {"stem.*", *(f"steps.{i}.*" for i in range(2 * under))}
        assert count_params(system) == count_params(fitted("llama", layers=left, dim=16)[0])
    with pytest.raises(UsageError, match="more layers than the 2"):
        by.spec("icl_representations", "tiny", layers=2, pasted=2, under=1)
