"""Phases that begin again from an earlier moment, and terms beside an objective: to the bit, also after a kill."""

import numpy as np
import pytest
import torch

import blockyard as by
from blockyard.core.spec import objective, phase, restarts, transform
from blockyard.model.count import count_params, stages
from blockyard.train.loop import Run, Settings, train

SYSTEM = by.spec("bert", dim=16, layers=1, heads=2, vocab=32, length=16)
MASKED = SYSTEM["program"][0]["objective"]
LATENT, NEAR, HELD = objective("latent"), objective("distil"), objective("l2_sp")
GROWN = transform("upcycle", experts=2)


class Noise:
    """Batches that are a function of the step."""

    def next(self, step):
        return {"tokens": np.random.default_rng(step).integers(0, 31, (4, 9))}


def program(*phases):
    return SYSTEM.but(program=phases)


WHOLE = program(
    phase(MASKED, share=0.2), phase(LATENT, share=0.2, also=(HELD,)), phase(MASKED, share=0.2, apply=(GROWN,)),
    phase(LATENT, share=0.2, also=(NEAR, HELD), restart=1), phase(MASKED, share=0.2, also=(NEAR,), restart=2),
)  # fmt: skip


def start(system, steps=10, **settings):
    return Run(system, by.build(system), Noise(), Settings(steps=steps, lr=1e-2, **settings))


def numbers(module):
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def moments(run, module):
    return [{k: v.clone() for k, v in run.moments.get(p, {}).items()} for p in module.parameters()]


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_killed_in_any_phase_goes_on_to_the_same_bits(tmp_path):
    settings = Settings(steps=10, lr=1e-2, log_every=1, save_seconds=0.0)
    whole = train(WHOLE, by.build(WHOLE), Noise(), settings)
    assert [each.spec.name for each in (whole.model.steps[1].part,)] == ["experts"]
    for stop in (1, 3, 4, 5, 6, 7, 8, 9):

        def watch(step, loss, stop=stop):
            if step == stop:
                raise KeyboardInterrupt

        folder = tmp_path / str(stop)
        with pytest.raises(KeyboardInterrupt):
            train(WHOLE, by.build(WHOLE), Noise(), settings, folder, watch)
        again = train(WHOLE, by.build(WHOLE), Noise(), settings, folder)
        assert equal(numbers(again.model), numbers(whole.model)) and again.curve == whole.curve, stop
        assert again.model.spec == whole.model.spec


def test_everything_is_what_it_was_when_that_phase_had_begun():
    """The model, the objective's own numbers, the moments of both; what was made since is gone."""
    run = start(program(*(phase(LATENT) for _ in range(3)), phase(LATENT, restart=1), phase(LATENT)))
    for _ in range(2):
        run.advance()
    run.enter(1)
    first = run.model
    begun = numbers(run.model), moments(run, run.model), numbers(run.objective), moments(run, run.objective)
    assert any(each["exp_avg"].abs().max() > 0 for each in begun[1] if each)
    for _ in range(4):
        run.advance()
    assert not equal(numbers(run.model), begun[0]) and run.model is first and run.phase == 2
    run.enter(3)
    now = numbers(run.model), moments(run, run.model), numbers(run.objective), moments(run, run.objective)
    assert equal(now[0], begun[0]) and equal(now[2], begun[2]) and run.model is not first
    assert all(equal(a, b) for found, held in ((now[1], begun[1]), (now[3], begun[3])) for a, b in zip(found, held))
    assert not run.kept and all(p not in run.moments for p in first.parameters())
    known = {p for module in (run.model, *run.objectives.values()) for p in module.parameters()}
    assert set(run.moments) <= known
    assert {id(p) for p in run.params.values()} <= {id(p) for p in known}


def test_what_a_later_phase_needs_is_kept_that_long_and_saved():
    run, seen = start(WHOLE), []
    for index in range(5):
        run.enter(index)
        seen.append(sorted(run.kept))
        named = {name.partition(".")[0] for name in run.owned()}
        assert {f"kept{i}" for i in run.kept} <= named
    assert seen == [[], [1], [1, 2], [2], []]
    assert "experts" in str(run.model.spec) and sorted(run.objectives) == [
        "objective0",
        "objective1",
        "objective1+1",
        "objective3+1",
    ]


def test_an_objective_made_since_is_made_anew():
    run = start(program(phase(MASKED), phase(MASKED, also=(NEAR,)), phase(MASKED, also=(NEAR,), restart=0)))
    run.enter(0), run.enter(1)
    old = run.also[0]
    run.enter(2)
    assert run.also[0] is not old and list(run.objectives) == ["objective0", "objective1+1"]


def test_terms_are_added_and_each_draws_for_itself():
    """A loss is the sum of the terms; a batch that the first objective asks nothing of teaches nothing."""
    run = start(program(phase(MASKED, also=(LATENT,))))
    run.enter(0)
    drawn = [run._drawing(place)("hidden", (50,)) for place in (0, 1)]
    assert not torch.equal(*drawn)
    alone = [start(program(phase(each))) for each in (MASKED, LATENT)]
    assert run.advance() > alone[0].advance()
    teacher = run.also[0].teacher.model
    assert any(
        not torch.equal(p, q) for p, q in zip(teacher.parameters(), by.build(SYSTEM).parameters())
    )  # it followed
    assert {name.partition(".")[0] for name in run.params} >= {"objective+1"}

    class Nothing(Noise):
        def next(self, step):
            batch = super().next(step)
            return {**batch, "valid": np.zeros((4, 9), bool)}

    silent = Run(program(phase(MASKED, also=(HELD,))), by.build(SYSTEM), Nothing(), Settings(steps=2, lr=1e-2))
    assert silent.advance() is None


def test_a_phase_restarts_from_an_earlier_one():
    assert restarts(WHOLE["program"]) == [None, None, None, 1, 2]
    for place in (1, 2):
        wrong = program(phase(MASKED), phase(MASKED, restart=place))
        for ask in (stages, start):
            with pytest.raises(by.UsageError, match=f"phase 1 restarts from phase {place}"):
                ask(wrong)
    with pytest.raises(by.UsageError, match="restart=-1"):
        by.Spec.from_json(WHOLE.to_json()).override("phase.restart", -1)
    assert "also" not in dict(phase(MASKED).settings) and "restart" not in dict(phase(MASKED).settings)
    assert dict(phase(MASKED, restart=0).settings)["restart"] == 0


def test_a_model_is_counted_as_it_restarts():
    grown = program(phase(MASKED), phase(MASKED, apply=(GROWN,)), phase(MASKED, restart=0))
    names = [made.steps[1].part.spec.name for made in stages(grown)]
    assert names == ["mlp", "experts", "mlp"] and count_params(grown) == count_params(SYSTEM)
