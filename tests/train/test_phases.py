"""Phases that begin with a transform, teachers that objectives keep: they resume, and every forward is charged."""

import numpy as np
import pytest
import torch

import blockyard as by
from blockyard.core.spec import head, objective, phase, stem, transform
from blockyard.model.count import count_params, training_flops
from blockyard.model.lineage import Origin, pairs
from blockyard.task._material import Ends
from blockyard.train.loop import Run, Settings, train
from blockyard.transform.take import take

SIZE = dict(dim=16, layers=1, heads=2, vocab=32, ffn=24)
NEXT = objective("next_token")


class Noise:
    """Batches that are a function of the step."""

    def next(self, step):
        return np.random.default_rng(step).integers(0, 32, (4, 9))


def growing(*more):
    grown = transform("upcycle", experts=2, keep=0.8)
    program = (phase(NEXT, share=0.5), phase(NEXT, share=0.25, apply=(grown,)), phase(*(more or (NEXT,)), share=0.25))
    return by.spec("llama", **SIZE).but(program=program)


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("system", [growing(), growing(objective("latent"))], ids=["grown", "grown and taught"])
def test_a_killed_run_goes_on_to_the_same_bits_in_every_phase(tmp_path, system):
    settings = Settings(steps=8, lr=1e-2, log_every=1, save_seconds=0.0)
    first = by.build(system)
    whole = train(system, first, Noise(), settings)
    assert whole.model is not first and whole.model.steps[1].part.spec.name == "experts"
    for stop in (2, 5, 8):

        def watch(step, loss, stop=stop):
            if step == stop:
                raise KeyboardInterrupt

        folder = tmp_path / str(stop)
        with pytest.raises(KeyboardInterrupt):
            train(system, by.build(system), Noise(), settings, folder, watch)
        again = train(system, by.build(system), Noise(), settings, folder)
        assert equal(again.model.state_dict(), whole.model.state_dict()) and again.curve == whole.curve
        assert again.model.spec == whole.model.spec
        done = train(system, by.build(system), Noise(), settings, folder)  # at once, from what it left
        assert equal(done.model.state_dict(), whole.model.state_dict())


def test_moments_follow_what_was_kept_and_what_was_copied():
    system = growing()
    run = Run(system, by.build(system), Noise(), Settings(steps=8, lr=1e-2))
    for _ in range(4):
        run.advance()
    old = dict(run.model.named_parameters())
    before = {name: {key: m.clone() for key, m in run.moments[p].items()} for name, p in old.items()}
    run.enter(1)
    fresh = dict(run.model.named_parameters())
    for expert in (0, 1):
        found = run.moments[fresh[f"steps.1.part.experts.{expert}.up.weight"]]
        assert equal(found, before["steps.1.part.up.weight"]) and found["exp_avg"].abs().max() > 0
    a, b = (run.moments[fresh[f"steps.1.part.experts.{e}.up.weight"]]["exp_avg"] for e in (0, 1))
    assert a.data_ptr() != b.data_ptr()
    assert equal(run.moments[fresh["stem.table"]], before["stem.table"])
    assert not run.moments.get(fresh["steps.1.part.router.weight"]) and not {*old.values()} & {*run.moments}


def test_what_is_narrowed_is_narrowed_in_whatever_belongs_to_it():
    model = by.build("llama", **SIZE)
    kept = torch.tensor([3, 1, 7])
    small, lineage = take(model, "steps.1.part.inner", kept)
    for old, new, origin in pairs(model, small, lineage):
        assert torch.equal(origin.of(old), new)
    assert len([*pairs(model, small, lineage)]) == len([*small.parameters()])
    assert Origin("w", ((1, torch.tensor([1])), (0, torch.tensor([0])))).of(torch.arange(4).view(2, 2)) == 1


def test_a_run_draws_its_own_transform():
    masks = []
    for seed in (1, 1, 2):
        system = growing().but(program=growing()["program"][1:])
        run = Run(system, by.build(system), Noise(), Settings(steps=8, lr=1e-2, seed=seed))
        run.enter(0)
        masks.append(run.model.steps[1].part.experts[0].up.weight == 0)
    assert torch.equal(masks[0], masks[1]) and not torch.equal(masks[0], masks[2])
    assert 0.1 < masks[0].float().mean() < 0.3


def test_every_phase_and_every_forward_is_charged():
    plain, length = by.spec("llama", **SIZE), 16
    forward = by.count(plain, length).flops_per_token
    assert training_flops(plain, length) == 3 * forward
    taught = plain.but(program=(phase(NEXT, share=0.25), phase(objective("latent"), share=0.75)))
    assert training_flops(taught, length) == pytest.approx((0.25 * 3 + 0.75 * 4) * forward)
    grown = growing()
    after = by.count(grown, length)
    assert count_params(grown) == after.params > by.count(plain, length).params
    assert training_flops(grown, length) == pytest.approx(1.5 * forward + 1.5 * after.flops_per_token)
    dense = growing().override("transform.router", "router:dense_to_sparse")  # both experts, until the run ends
    assert training_flops(dense, length) > 1.05 * training_flops(grown, length)
    assert by.count(dense, length).flops_per_token == after.flops_per_token


def test_a_task_that_teaches_otherwise_keeps_the_phases_that_change_the_model():
    ends = Ends("ids", "classes", "classes", stem("tokens"), head("classes"), objective("classes"))
    fitted = ends.fit(growing(objective("latent")))
    assert [each["objective"].name for each in fitted["program"]] == ["classes"] * 3
    assert [len(each.get("apply", ())) for each in fitted["program"]] == [0, 1, 0]
    assert [each["share"] for each in fitted["program"]] == [0.5, 0.25, 0.25]
    taught = by.spec("llama", **SIZE).but(program=(phase(objective("latent")), phase(NEXT)))
    assert len(ends.fit(taught)["program"]) == 1


def test_a_teacher_follows_and_no_gradient_reaches_it():
    system = by.spec("llama", **SIZE).but(program=(phase(objective("latent", keep=0.75)),))
    model = by.build(system)
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    run = Run(system, model, Noise(), Settings(steps=4, lr=1e-2))
    run.advance()
    teacher, now = dict(run.objective.teacher.model.named_parameters()), dict(model.named_parameters())
    for name, mine in teacher.items():
        assert mine.grad is None and not mine.requires_grad
        assert torch.allclose(mine, 0.75 * start[name] + 0.25 * now[name], atol=1e-7)
    assert any(not torch.equal(start[name], p) for name, p in now.items())
    assert not any(name.startswith("objective.teacher") for name in run.params)
    assert "objective.predict.weight" in run.params
    frozen = by.spec("llama", **SIZE).but(program=(phase(objective("latent", keep=1.0)),))
    run = Run(frozen, by.build(frozen), Noise(), Settings(steps=4, lr=1e-2))
    for _ in range(2):
        run.advance()
    assert all(torch.equal(p, start[name]) for name, p in run.objective.teacher.model.named_parameters())


def test_a_teacher_of_another_model_is_refused():
    system = growing()
    taught = objective("latent")
    _, second, _ = system["program"]
    system = system.but(program=(phase(taught, share=0.5), phase(taught, share=0.5, apply=second["apply"])))
    with pytest.raises(by.UsageError, match="transformed since"):
        train(system, by.build(system), Noise(), Settings(steps=4, lr=1e-2))


def test_a_phase_without_a_transform_is_what_it_was():
    assert "apply" not in dict(phase(NEXT).settings) and growing() != growing().override("transform.experts", 3)
    again = by.Spec.from_json(growing().to_json())
    assert again == growing()
    with pytest.raises(by.UsageError, match="keep=7"):
        growing().override("transform.keep", 7)


def test_rows_and_columns_of_a_matrix_that_is_narrowed_begin_anew(monkeypatch):
    """What an optimiser keeps in another shape than the matrix says nothing of a part of it; the rest goes on."""
    system = growing().but(optimiser=by.Spec("optimiser", "adafactor"))
    run = Run(system, by.build(system), Noise(), Settings(steps=8, lr=1e-2))
    for _ in range(4):
        run.advance()
    monkeypatch.setattr(
        "blockyard.train.loop.transformed", lambda model, *_: take(model, "steps.1.part.inner", torch.arange(8))
    )
    run.enter(1)
    fresh = dict(run.model.named_parameters())
    assert not run.moments.get(fresh["steps.1.part.up.weight"])
    assert run.moments[fresh["stem.table"]]["step"] == 4 and run.moments[fresh["steps.0.part.qkv.weight"]]["step"] == 4
    assert run.advance() is not None and run.moments[fresh["steps.1.part.up.weight"]]["step"] == 1
