"""Every recipe: its spec survives JSON, its sizes have the published counts, its knobs meet every budget."""

from contextlib import nullcontext

import pytest
import torch

import blockyard as by
from blockyard.compare.plan.budget import solve
from blockyard.core import registry
from blockyard.core.call import Moment
from blockyard.core.errors import UsageError
from blockyard.core.numbers import PARAMS
from blockyard.core.spec import Spec
from blockyard.model.count import count_params
from blockyard.train.loop import build_objective

RECIPES = registry.entries("recipe")
SIZES = [(name, size) for name, entry in RECIPES.items() for size in entry.constant("sizes")]


@pytest.mark.parametrize("name,size", SIZES)
def test_a_spec_is_its_json(name, size):
    spec = by.spec(name, size)
    again = Spec.from_json(spec.to_json())
    assert again == spec and again.hash == spec.hash and hash(again) == hash(spec)


@pytest.mark.parametrize("name,size", [(n, s) for n, s in SIZES if s in RECIPES[n].constant("expect", {})])
def test_published_parameter_counts(name, size):
    wanted, tolerance = RECIPES[name].constant("expect")[size]["params"]
    assert abs(count_params(by.spec(name, size)) / wanted - 1) <= tolerance


@pytest.mark.parametrize(
    "budget", ["150k", "1M", pytest.param("200k", marks=pytest.mark.slow), pytest.param("11M", marks=pytest.mark.slow)]
)
def test_all_recipes_meet_a_budget_within_two_percent(budget):
    sized = [name for name in RECIPES if RECIPES[name].constant("knobs")]
    counts = [count_params(solve(name, PARAMS(budget, "--params"), {})) for name in sized]
    assert max(counts) / min(counts) <= 1.02


CERTAIN = ("transformer_programs",)  # outside training all is chosen, and nothing is steep


@pytest.mark.parametrize("name", RECIPES)
def test_one_step_of_every_phase_lowers_its_loss_and_all_learn(name):
    spec = by.spec(name, "tiny")
    model, reached = by.build(spec), set()
    for phase in spec["program"]:
        objective = build_objective(phase["objective"], model)
        objective.adopt(model, model)
        draw = torch.Generator().manual_seed(0)
        batch = objective.example(model, 4, 32, draw)
        batch = objective.prepare(batch, lambda _, shape, draw=draw: torch.rand(shape, generator=draw))
        steep = getattr(getattr(objective, "corrupt", None), "numbers", 0)  # a small mask vector stands behind a norm
        optimiser = torch.optim.SGD(model.parameters(), lr=0.002 if steep else 0.05)
        losses = []
        for _ in range(2):
            with model.training_at(Moment(0, 0)) if name in CERTAIN else nullcontext():
                terms, counts = objective(model, batch), objective.counts(batch)
            assert {name: count for name, (_, count, _) in terms.items()} == counts and all(counts.values())
            loss = torch.stack([weight * total / count for total, count, weight in terms.values()]).sum()
            losses.append(loss.item())
            loss.backward()
            taught = {key: p.grad for key, p in model.named_parameters() if p.grad is not None}
            assert all(grad.isfinite().all() for grad in taught.values())
            reached |= taught.keys()
            optimiser.step()
            optimiser.zero_grad()
        assert losses[1] < losses[0]
    assert reached == dict(model.named_parameters()).keys()


def test_overrides_reach_parts_and_unknown_ones_are_named():
    assert by.spec("llama", **{"mixer.heads": 2})["model"]["blocks"][0]["steps"][0]["heads"] == 2
    narrowed = by.spec("olmo_hybrid", **{"delta.mixer.beta_max": 1.0})
    assert narrowed["model"]["blocks"][0]["steps"][0]["beta_max"] == 1.0
    for bad, says in (
        (dict(dims=3), "dim"), ({"mixer.head": 2}, "heads"), ({"mixr.heads": 2}, "mixer"),
        ({"dlta.mixer.beta_max": 1}, "delta"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=says):
            by.spec("olmo_hybrid", **bad)
    with pytest.raises(UsageError, match="llama"):
        by.spec("lama")
    with pytest.raises(UsageError, match="divide"):
        by.build("llama", dim=30, heads=4)


def test_edits_address_one_module_and_must_meet_one():
    spec = by.spec("llama", "tiny").at("steps.1.part", **{"axes.inner": 7})
    model = by.build(spec)
    assert model.axes["steps.1.part.inner"].size == 7 and model.axes["steps.3.part.inner"].size != 7
    with pytest.raises(UsageError, match=r"steps\.9\.part"):
        by.build(by.spec("llama", "tiny").at("steps.9.part", inner=3))
    with pytest.raises(UsageError, match="inner"):
        by.build(by.spec("llama", "tiny").at("steps.1.part", **{"axes.iner": 3}))
