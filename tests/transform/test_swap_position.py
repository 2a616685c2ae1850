"""Positions become other ones: what stays, what is new, what is refused."""

import pytest
import torch

import blockyard as by
from blockyard.core.spec import Spec, position, transform
from blockyard.model.lineage import pairs, transformed
from blockyard.transform._base import make_transform


def shaken(name="llama", **settings):
    model = by.build(name, "tiny", **settings).double()
    draw = torch.Generator().manual_seed(1)
    for p in model.parameters():
        p.data += 0.1 * torch.randn(p.shape, generator=draw, dtype=p.dtype)
    return model


def swapped(model, what, **settings):
    return make_transform(transform("swap_position", position=what, **settings)).apply(model)


IDS = torch.randint(0, 256, (2, 9), generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_what_was_learned_stays_and_positions_are_others():
    """The result is the model that is built with the other positions and given the same numbers."""
    model = shaken()
    for what in (position("ntk", factor=3.0), position("alibi"), None):
        done = swapped(model, what)
        expected = by.build("llama", "tiny", **{"mixer.position": what}).double()
        expected.load_state_dict(model.state_dict())
        assert torch.equal(done.model(IDS).logits, expected(IDS).logits)
        assert (done.model(IDS).logits - model(IDS).logits).abs().max() > 1e-3
        assert set(done.covered) == {"steps.0.part.position", "steps.2.part.position"} and done.report["new"] == 0
    back = swapped(swapped(model, position("ntk", factor=3.0)).model, position("rope")).model
    assert torch.equal(back(IDS).logits, model(IDS).logits)


@torch.no_grad()
def test_schemes_that_meet_in_short_rows_read_them_alike():
    model = shaken()
    for what in (position("clex", trained=9), position("dynamic_ntk", trained=9), position("interpolated", factor=1.0)):
        assert torch.equal(swapped(model, what).model(IDS).logits, model(IDS).logits)


def test_only_some_and_what_is_left_is_said():
    done = swapped(shaken(), position("alibi"), on=("steps.2.*",))
    assert done.left == ("steps.0.part.position",) and list(done.covered) == ["steps.2.part.position"]
    names = [done.model.steps[step].part.position.spec.name for step in (0, 2)]
    assert names == ["rope", "alibi"]


def test_what_is_new_is_drawn_by_its_seed_and_comes_from_nowhere():
    """A scheme's own numbers: kept under other settings of the same scheme, else new, without an origin."""
    model = shaken(**{"mixer.position": "fire"})
    again = swapped(model, position("fire", threshold=3.0)).model
    one, other = (each.steps[0].part.position for each in (model, again))
    assert torch.equal(one.up, other.up) and torch.equal(one.threshold, other.threshold)
    wider = swapped(model, position("fire", inner=5)).model.steps[0].part.position
    assert wider.up.shape == (5,) and torch.equal(wider.offset, one.offset)

    first, second, third = (swapped(shaken(), position("kerple_log"), seed=seed).model for seed in (1, 1, 2))
    a, b, c = (each.steps[0].part.position.log_a for each in (first, second, third))
    assert torch.equal(a, b) and not torch.equal(a, c)
    found, lineage = transformed(model, transform("swap_position", position=Spec("position", "kerple_log")))
    named = {path for path, p in found.named_parameters() for _, made, _ in pairs(model, found, lineage) if made is p}
    assert named == {path for path, _ in found.named_parameters() if ".position." not in path}
    assert sum(p.numel() for p in found.parameters()) - sum(p.numel() for p in model.parameters()) < 0


@torch.no_grad()
def test_a_result_is_rebuilt_by_its_spec_and_edits_of_what_goes_go(tmp_path):
    spec = by.spec("llama", "tiny").at("steps.0.part.position", base=77.0).at("steps.0.part", scale=0.3)
    model = by.build(spec)
    done = swapped(model, position("yarn", trained=64)).model
    assert done.steps[0].part.scale == 0.3 and done.steps[0].part.position.base == 10000.0
    inside = by.spec("llama", "tiny", **{"mixer.position": position("capped", of=position("rope"), cap=4)})
    inside = by.build(inside.at("steps.*.part.position.of", base=77.0))
    part = swapped(inside, position("alibi"), on=("steps.0.*",)).model
    assert [part.steps[0].part.position.spec.name, part.steps[2].part.position.of.base] == ["alibi", 77.0]
    done.save(tmp_path / "m")
    assert torch.equal(by.load(tmp_path / "m")(IDS).logits, done(IDS).logits)


def test_what_cannot_be_swapped_is_refused():
    with pytest.raises(by.UsageError, match="no position stands at head"):
        swapped(shaken(), position("alibi"), on=("head.*",))
    with pytest.raises(by.UsageError, match="acts on queries and keys, position:learned does not"):
        swapped(shaken(), position("learned"))
    with pytest.raises(by.UsageError, match="there are none"):
        swapped(shaken(**{"mixer.position": None}), position("rope"))
    model = shaken("gpt2")
    with pytest.raises(by.UsageError, match=r"there are stem\.position"):
        swapped(model, position("sinusoidal"))
    done = swapped(model, position("sinusoidal"), on=("stem.*",))
    assert done.model.stem.position.spec.name == "sinusoidal" and "stem.position.table" not in done.model.state_dict()
