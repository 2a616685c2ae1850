"""Depth programs that draw what runs: the same for all rows of a step, all outside training; the mean is counted."""

import pytest
import torch

import blockyard as by
from blockyard.core import Call
from blockyard.core.call import Moment
from blockyard.core.spec import (
    Spec,
    block,
    channel,
    depth,
    head,
    mixer,
    model,
    objective,
    phase,
    residual,
    stem,
    system,
)
from blockyard.model.count import count_flops, on_meta, training_flops
from blockyard.train.loop import Settings, train
from blockyard.transform._base import make_transform
from tests.train.test_training import Interrupt, Noise, same


def body(program, *blocks):
    made = blocks or (block("layer", mixer("attention", heads=2), channel("mlp")),)
    return model(
        dim=16, stem=stem("tokens", vocab=64), blocks=made, residual=residual("prenorm"), depth=program, head=head("lm")
    )


def dropped(layers=4, **settings):
    return body(depth("dropped", of=depth("stack", layers=layers), **settings))


def sampled(loops=4, **settings):
    return body(depth("sampled", of=depth("shared", loops=loops), **settings))


def ran(built, tick, micro_batch=0, seed=0, started={}):  # noqa: B006
    """The (step, loop) that a forward of training runs."""
    found = []
    if started.get("of") is not built:
        started |= dict(of=built, flow=built.start(torch.zeros(2, 5, dtype=torch.long)))
    flow = started["flow"]
    flow = flow._replace(call=flow.call._replace(seed=seed, tick=tick, micro_batch=micro_batch))

    def run(flow, step, loop=0):
        found.append((step, loop))
        return flow

    built.depth(flow, run)
    return found


def blocks_of(built, tick, **when):
    return {step // 2 for step, _ in ran(built, tick, **when)}


def test_each_block_goes_with_its_chance_and_whole():
    built = by.build(dropped(layers=5, share=0.5, first=0.1))
    assert built.depth.chances() == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    counts = torch.zeros(5)
    for tick in range(2000):
        steps = [step for step, _ in ran(built, tick)]
        assert steps == sorted(steps) and all(step + 1 in steps for step in steps[::2])
        counts[[step // 2 for step in steps[::2]]] += 1
    assert (counts / 2000 - torch.tensor(built.depth.runs())).abs().max() < 0.04
    assert built.depth.runs() == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.5], abs=0.001)
    assert by.build(dropped(share=0.3)).depth.chances() == [0.3] * 4


def test_one_block_stays_each_as_often():
    built = by.build(dropped(layers=3, share=1.0))
    counts = torch.zeros(3)
    for tick in range(1500):
        (kept,) = blocks_of(built, tick)
        counts[kept] += 1
    assert (counts / 1500 - 1 / 3).abs().max() < 0.04 and built.depth.runs() == pytest.approx([1 / 3] * 3)
    uneven = by.build(dropped(layers=2, share=0.8, first=0.5))
    counts = torch.zeros(2)
    for tick in range(3000):
        counts[list(blocks_of(uneven, tick))] += 1
    assert (counts / 3000 - torch.tensor(uneven.depth.runs())).abs().max() < 0.03


@pytest.mark.parametrize("spec", [dropped(share=0.5), sampled()])
def test_what_runs_follows_from_seed_and_step_alone(spec):
    built = by.build(spec)
    at = [tuple(ran(built, tick)) for tick in range(40)]
    assert at == [tuple(ran(built, tick, micro_batch=6)) for tick in range(40)]
    assert at == [tuple(ran(by.build(spec, seed=3), tick)) for tick in range(40)] and len(set(at)) > 3
    assert at != [tuple(ran(built, tick, seed=1)) for tick in range(40)]


@torch.no_grad()
def test_outside_training_everything_runs_as_in_a_plain_stack():
    built, plain = by.build(dropped(share=0.9)), by.build(body(depth("stack", layers=4)))
    x = torch.randint(0, 64, (2, 7))
    assert torch.equal(built(x).logits, plain(x).logits)
    with built.training_at(Moment(0, 1)):
        assert not torch.equal(built(x).logits, plain(x).logits)
    looped, shared = by.build(sampled(loops=4, usual=3)), by.build(body(depth("shared", loops=3)))
    shared.load_state_dict(looped.state_dict())
    assert (looped(x).logits - shared(x).logits).abs().max() < 1e-6
    assert len(ran(looped, None)) == 6


def test_numbers_of_loops_are_even_and_start_from_the_first():
    built = by.build(sampled(loops=5, least=2))
    counts = torch.zeros(6)
    for tick in range(2000):
        steps = ran(built, tick)
        assert steps == [(step, loop) for loop in range(len(steps) // 2) for step in (0, 1)]
        counts[len(steps) // 2] += 1
    assert counts[:2].sum() == 0 and (counts[2:] / 2000 - 0.25).abs().max() < 0.04
    assert built.depth.runs() == [pytest.approx(3.5)]
    stack = by.build(body(depth("sampled", of=depth("stack", layers=3), least=2)))
    assert stack.depth.runs() == [1, 1, 0.5] and {len(blocks_of(stack, tick)) for tick in range(30)} == {2, 3}


def test_a_signal_stands_before_every_loop_that_runs():
    signal = Spec("position", "step_signal")
    built = by.build(body(depth("sampled", of=depth("shared", loops=3, signal=signal), usual=2)))
    other = by.build(body(depth("shared", loops=2, signal=signal)))
    other.load_state_dict(built.state_dict(), strict=False)
    x = torch.randint(0, 64, (1, 6))
    with torch.no_grad():
        assert (built(x).logits - other(x).logits).abs().max() < 1e-5


@pytest.mark.parametrize("spec", [dropped(share=0.5), sampled(loops=3)])
def test_training_costs_the_mean(spec):
    made = system(spec, phase(objective("next_token")))
    outline, found = on_meta(spec), training_flops(made, 8)
    ends = count_flops(outline, 8, ())
    blocks = [count_flops(outline, 8, steps) - ends for steps in outline.depth.blocks]
    mean = ends + sum(share * each for share, each in zip(outline.depth.runs(), blocks))
    assert found == pytest.approx(3 * mean / 8)
    assert count_flops(outline, 8) == ends + sum(n * each for (_, n), each in zip(outline.depth.plan(), blocks))
    built = by.build(spec)
    costs = (ends + sum(blocks[step // 2] for step, _ in ran(built, t) if step % 2 == 0) for t in range(300))
    assert sum(costs) / 300 == pytest.approx(mean, rel=0.06)


def fit(spec, recompute=False, folder=None, watch=None, **settings):
    built = by.build(spec)
    built.recompute = recompute
    whole = Settings(**{"steps": 6, "lr": 1e-3, "log_every": 1, "seed": 5} | settings)
    return train(system(spec, phase(objective("next_token"))), built, Noise(), whole, folder, watch).model


@pytest.mark.parametrize("spec", [dropped(share=0.5), sampled(loops=3)], ids=["dropped", "sampled"])
def test_a_run_is_the_same_recomputed_cut_into_pieces_and_after_a_stop(spec, tmp_path):
    whole = fit(spec)
    assert same(whole, fit(spec, recompute=True))
    pieces = fit(spec, micro=2)
    assert max((a - b).abs().max() for a, b in zip(whole.parameters(), pieces.parameters())) < 1e-4

    def watch(step, loss):
        if step == 3:
            raise Interrupt

    with pytest.raises(Interrupt):
        fit(spec, folder=tmp_path, watch=watch, save_seconds=0.0)
    assert same(whole, fit(spec, folder=tmp_path, save_seconds=0.0))
    assert not same(whole, fit(spec, seed=6))


def test_a_block_that_is_left_out_learns_nothing():
    built = by.build(dropped(layers=2, share=0.5))
    tick = next(tick for tick in range(50) if blocks_of(built, tick) == {1})
    with built.training_at(Moment(0, tick)):
        built(torch.randint(0, 64, (2, 7))).logits.square().mean().backward()
    gone, stays = ([p.grad for p in step.parameters()] for step in (built.steps[0], built.steps[2]))
    assert all(grad is None for grad in gone) and all(grad is not None for grad in stays)


def test_steps_can_be_cut_out_of_such_a_model():
    built = by.build(dropped(layers=3, share=0.5))
    found = make_transform("drop:steps=1,of=block").apply(built, [by.Batch(torch.randint(0, 64, (2, 9)))])
    assert found.model.depth.spec.name == "dropped" and len(found.model.steps) == 4
    assert found.model.depth.chances() == [0.5, 0.5]
    stack = by.build(body(depth("sampled", of=depth("stack", layers=3), least=3, usual=3)))
    cut = make_transform("cut:steps=(0,1)").apply(stack).model
    assert cut.depth.least == cut.depth.usual == 2 and cut.depth.count == 2


@pytest.mark.parametrize(
    "wrong, said",
    [
        (lambda: depth("dropped", of=depth("shared", loops=2)), "run once each, and depth:shared has others"),
        (lambda: depth("dropped", of=depth("halting")), "depth:halting has others"),
        (lambda: depth("dropped", of=depth("sampled", of=depth("stack", layers=2))), "depth:sampled has others"),
        (lambda: depth("sampled", of=depth("halting")), "always the same, and depth:halting is not"),
        (lambda: depth("sampled", of=depth("dropped")), "always the same, and depth:dropped is not"),
        (lambda: depth("sampled", of=depth("shared", loops=2), least=3), "least=3 is more than depth:shared has"),
        (lambda: depth("sampled", of=depth("shared", loops=2), usual=3), "usual=3 is more than depth:shared has"),
        (lambda: depth("dropped", share=1.5), "share=1.5 must be"),
    ],
)
def test_what_cannot_be_is_refused(wrong, said):
    with pytest.raises(by.UsageError, match=said):
        by.build(body(wrong()))


def test_the_draw_needs_no_rows():
    built = by.build(dropped(share=0.5))
    call = Call.plain(torch.zeros(7, 3, 16))._replace(tick=4, seed=2)
    few = Call.plain(torch.zeros(1, 9, 16))._replace(tick=4, seed=2)
    assert built.depth.left_out(call) == built.depth.left_out(few)
