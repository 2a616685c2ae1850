"""Settings that a model loses least with are found again; nothing that was learned changes."""

import pytest
import torch

import blockyard as by
from blockyard.core.spec import Spec, transform
from blockyard.model.save import stored
from blockyard.transform._base import make_transform
from blockyard.transform.search_settings import nats


def model(base, slope=1.0):
    """A model with large weights, so that what it says depends on its positions."""
    penalised = Spec.of("position", "harmonic", dict(slope=slope, turn=Spec.of("position", "rope", dict(base=base))))
    made = by.build("llama", "tiny", **{"mixer.position": penalised, "mixer.heads": 4}).double().eval()
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in made.parameters():
            p.copy_(2 * torch.randn(p.shape, generator=draw, dtype=p.dtype) * p[0].numel() ** -0.5)
    return made


@torch.no_grad()
def said(made, rows=8, length=24):
    """Batches whose targets are drawn from what a model says: none loses less on average than the model itself."""
    draw = torch.Generator().manual_seed(2)
    found = [torch.randint(0, 256, (rows, length), generator=draw) for _ in range(2)]
    chances = [made(ids).logits.softmax(-1).flatten(0, 1) for ids in found]
    return [by.Batch(ids, p.multinomial(1, generator=draw).view_as(ids)) for ids, p in zip(found, chances)]


def searched(given, data, settings=("position.slope",), low=(0.0,), high=(8.0,), **how):
    return make_transform(transform("search_settings", settings=settings, low=low, high=high, **how)).apply(given, data)


def test_the_settings_of_who_said_it_are_found_again():
    teacher = model(10000.0, slope=3.0)
    data, given = said(teacher), model(10000.0, slope=0.5)
    done = searched(given, data, rounds=6, samples=10)
    part, report = done.model.steps[0].part.position, done.report
    assert part.slope == report["found"]["position.slope"] == pytest.approx(3.0, abs=0.6)
    assert report["nats"] < report["nats_before"] - 0.02
    assert report["nats"] == pytest.approx(nats(done.model, data)) and report["nats_before"] == nats(given, data)
    assert all(torch.equal(value, stored(done.model)[name]) for name, value in stored(given).items())
    assert {"steps.0.part.position", "steps.2.part.position"} == set(done.covered)
    assert by.build(done.model.spec).steps[2].part.position.slope == part.slope


def test_the_same_seed_finds_the_same_and_several_are_searched_at_once():
    given, data = model(10000.0), said(model(500.0, slope=4.0))
    both = dict(settings=("position.slope", "position.base"), low=(0.0, 100.0), high=(8.0, 20000.0))
    first, again, other = (searched(given, data, **both, rounds=2, samples=6, seed=seed) for seed in (0, 0, 1))
    assert first.report == again.report and first.report["found"] != other.report["found"]
    assert set(first.report["found"]) == {"position.slope", "position.base"}
    assert first.model.steps[0].part.position.turn.base == first.report["found"]["position.base"]


def test_only_what_is_asked_for_is_scored():
    given = model(10000.0)
    (batch, _) = said(model(10000.0, slope=3.0))
    half = by.Batch(batch.tokens, torch.where(torch.arange(24) % 2 == 0, batch.targets, -1))
    whole = by.Batch(batch.tokens)
    logits = given(batch.tokens).logits.log_softmax(-1)
    by_hand = -logits[:, ::2].gather(-1, batch.targets[:, ::2, None]).mean()
    assert nats(given, [half]) == pytest.approx(float(by_hand))
    next_one = -logits[:, :-1].gather(-1, batch.tokens[:, 1:, None]).mean()
    assert nats(given, [whole]) == pytest.approx(float(next_one))


def test_what_cannot_be_searched_for_is_refused():
    given, data = model(10000.0), said(model(10000.0))
    with pytest.raises(by.UsageError, match="a range for each"):
        searched(given, data, low=(9.0,))
    with pytest.raises(by.UsageError, match="a range for each"):
        searched(given, data, settings=("position.slope", "position.base"))
    with pytest.raises(by.UsageError, match="unknown setting of position 'slop'; did you mean slope"):
        searched(given, data, settings=("position.slop",))
    with pytest.raises(by.UsageError, match="must be a number of at least 0"):
        searched(given, data, low=(-9.0,), high=(1.0,))
    with pytest.raises(by.UsageError, match="give some text"):
        searched(given, [])
    with pytest.raises(by.UsageError, match="says of tokens"):
        searched(by.build("vit", "tiny"), data, settings=("norm.eps",), high=(1.0,))
