"""Predictions behind every block from one run: each is what the model says that is cut there; a term trains them."""

import numpy as np
import pytest
import torch

import blockyard as by
from blockyard.core import Batch
from blockyard.core.call import Moment
from blockyard.core.spec import Spec, depth, objective, phase, system
from blockyard.model.count import count_flops, on_meta, training_flops
from blockyard.probe import exit_losses_probe
from blockyard.train.loop import Run, Settings, build_objective
from blockyard.transform._base import make_transform
from tests.parts.test_drawn_depth import body, dropped, ran
from tests.train.test_training import Noise

X = torch.randint(0, 64, (3, 9), generator=torch.Generator().manual_seed(0))


def built(program=None, **settings):
    return by.build(body(program or depth("stack", layers=3)), **settings)


@torch.no_grad()
def test_an_exit_is_the_model_that_is_cut_there():
    model = built()
    flows = model.through(model.start(X))
    assert len(flows) == 3
    for place, gone in ((1, (2, 3, 4, 5)), (2, (4, 5))):
        cut = make_transform(f"cut:steps={gone}").apply(model).model
        assert torch.equal(model.finish(flows[place - 1]).logits, cut(X).logits)
    assert torch.equal(model.finish(flows[-1]).logits, model(X).logits)


@torch.no_grad()
def test_loops_are_exits_too_and_blocks_that_are_left_out_leave_the_stream():
    looped = built(depth("shared", loops=3, signal=Spec("position", "step_signal")))
    flows = looped.through(looped.start(X))
    for loops in (1, 2, 3):
        less = built(depth("shared", loops=loops, signal=Spec("position", "step_signal")))
        less.load_state_dict(looped.state_dict(), strict=False)
        assert torch.allclose(looped.finish(flows[loops - 1]).logits, less(X).logits, atol=1e-6)
    model = by.build(dropped(layers=3, share=0.5))
    tick = next(t for t in range(99) if {step for step, _ in ran(model, t)} == {0, 1, 4, 5})
    with model.training_at(Moment(0, tick)):
        first, second, last = model.through(model.start(X))
        assert torch.equal(first.x, second.x) and not torch.equal(second.x, last.x)
        assert torch.equal(model.finish(last).logits, model(X).logits)


def test_the_loss_is_that_of_the_end_and_of_every_exit_from_one_forward():
    model, batch = built(), Batch(X)
    plain = build_objective(objective("next_token"), model)
    asked = build_objective(objective("exits", after=(0, 2), weight=0.25), model)
    asked.adopt(model, model)
    runs = []
    model.steps[0].register_forward_hook(lambda *_: runs.append(1))
    found = asked(model, batch)
    assert len(runs) == 1 and set(found) == {"next_token", "next_token after 0", "next_token after 2"} == set(
        asked.counts(batch)
    )
    assert [weight for *_, weight in found.values()] == [1.0, 0.25, 0.25]
    assert torch.equal(found["next_token"][0], plain(model, batch)["next_token"][0])
    for place, gone in ((2, (4, 5)),):
        cut = make_transform(f"cut:steps={gone}").apply(model).model
        assert torch.allclose(found[f"next_token after {place}"][0], plain(cut, batch)["next_token"][0])
    stem = model.finish(model.start(X)).logits
    wanted = torch.nn.functional.cross_entropy(stem[:, :-1].flatten(0, 1), X[:, 1:].flatten(), reduction="sum")
    assert torch.allclose(found["next_token after 0"][0], wanted)


def test_where_nothing_is_said_the_exit_behind_the_first_block_counts_as_much():
    model = built()
    plain, asked = (build_objective(objective(name), model) for name in ("next_token", "exits"))
    batch = asked.example(model, 2, 7, torch.Generator().manual_seed(0))
    assert torch.equal(batch.tokens, plain.example(model, 2, 7, torch.Generator().manual_seed(0)).tokens)
    assert {name: weight for name, (*_, weight) in asked(model, batch).items()} == {
        "next_token": 1.0, "next_token after 1": 1.0
    }  # fmt: skip


def test_exits_of_another_objective():
    model = by.build("bert", "tiny")
    asked = build_objective(objective("exits", after=(1,), objective=objective("masked")), model)
    asked.adopt(model, model)
    draw = torch.Generator().manual_seed(0)
    batch = asked.prepare(Batch(torch.randint(0, 256, (2, 12))), lambda name, shape: torch.rand(shape, generator=draw))
    found = asked(model, batch)
    cut = make_transform("cut:steps=(2,3)").apply(model).model
    alone = build_objective(objective("masked"), cut)(cut, batch)
    assert torch.allclose(found["masked after 1"][0], alone["masked"][0], atol=1e-5)


def test_what_parts_leave_on_the_way_counts_once():
    halting = built(depth("halting", loops=3, cost=1.0))
    asked = build_objective(objective("exits", after=(1, 2)), halting)
    with halting.training_at(Moment(0, 0)) as watch:
        asked(halting, Batch(X))
    once = watch.penalty()
    with halting.training_at(Moment(0, 0)) as watch:
        halting(X)
    assert torch.equal(once, watch.penalty())


def test_training_makes_exits_better_and_is_charged_for_its_heads():
    spec = body(depth("stack", layers=3))
    plain, early = (system(spec, phase(each)) for each in (objective("next_token"), objective("exits", after=(0, 2))))
    outline = on_meta(spec)
    assert training_flops(early, 8) - training_flops(plain, 8) == pytest.approx(6 * count_flops(outline, 8, ()) / 8)
    models = []
    for each in (plain, early):
        run = Run(each, by.build(spec), Noise(), Settings(steps=4, lr=1e-2, micro=2))
        while run.step < 4:
            run.advance()
        models.append(exit_losses_probe(run.model, X)["loss"].mean(0))
    assert models[0].shape == (4,) and models[1][0] < models[0][0] and models[1][2] < models[0][2]


def test_losses_behind_every_block():
    model = built()
    found = exit_losses_probe(model, X, batch=2)["loss"]
    assert found.shape == (3, 4)
    cut = make_transform("cut:steps=(2,3,4,5)").apply(model).model
    for place, each in ((1, cut), (3, model)):
        nats = torch.nn.functional.cross_entropy(
            each(X).logits[:, :-1].flatten(0, 1), X[:, 1:].flatten(), reduction="none"
        ).view(3, -1)
        assert np.allclose(found[:, place], (nats.mean(1) / np.log(2)).detach().numpy(), atol=1e-5)
    with pytest.raises(by.UsageError, match="2 tokens or more"):
        exit_losses_probe(model, X[:, :1])


@pytest.mark.parametrize(
    "settings, said",
    [
        (dict(after=(3,)), "has 3 blocks, and its end"), (dict(after=(1, 1)), "names an exit twice"),
        (dict(objective=objective("distil")), "makes forwards of its own"),
        (dict(objective=objective("masked")), "masked|bidirectional"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(settings, said):
    with pytest.raises(by.UsageError, match=said):
        model = built()
        build_objective(objective("exits", **settings), model).adopt(model, model)
