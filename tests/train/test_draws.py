"""Random numbers of training: other ones at every step and micro-batch, the same ones when anything is done again."""

import pytest
import torch

import blockyard as by
from blockyard.core.call import Call, Moment
from blockyard.core.part import Sublayer
from blockyard.train.loop import Run, Settings, train
from tests.train.test_training import SPEC, Interrupt, Noise, same


class Drop(Sublayer):
    """A sublayer that drops half of its inputs while it trains, and remembers what it drew."""

    def __init__(self, path):
        super().__init__()
        self.path, self.drawn, self.moments = path, [], []

    def forward(self, x, call, state=None):
        if not call.training:
            return x, state
        mask = call.uniform(self.path, x.shape) < 0.5
        self.drawn.append(tuple(mask.flatten()[:64].tolist()))
        self.moments.append((call.seed, call.tick, call.micro_batch))
        return x * mask, state


def noisy(recompute=False):
    model = by.build(SPEC)
    model.steps[1].part, model.steps[3].part = Drop("steps.1.part"), Drop("steps.3.part")
    model.recompute = recompute
    return model, model.steps[1].part, model.steps[3].part


def fit(model, steps=3, **settings):
    return train(SPEC, model, Noise(), Settings(**{"steps": steps, "lr": 1e-3, "log_every": 1} | settings))


def test_every_step_micro_batch_and_place_draws_its_own_and_a_second_run_the_same():
    model, first, second = noisy()
    fit(model, micro=2, seed=5)
    assert first.moments == [(5, tick, micro) for tick in range(3) for micro in (0, 2)]
    assert len(set(first.drawn + second.drawn)) == 12
    again, *parts = noisy()
    fit(again, micro=2, seed=5)
    assert parts[0].drawn == first.drawn and same(model, again)
    other, *parts = noisy()
    fit(other, micro=2, seed=6)
    assert not set(parts[0].drawn) & set(first.drawn)


def test_recomputation_repeats_the_draw():
    plain, *_ = noisy()
    fit(plain)
    model, first, _ = noisy(recompute=True)
    fit(model)
    assert len(first.drawn) == 6 and len(set(first.drawn)) == 3  # each step drew twice the same
    assert same(plain, model)


def test_an_interrupted_run_draws_on(tmp_path):
    whole, *_ = noisy()
    fit(whole, steps=6)

    def watch(step, loss):
        if step == 3:
            raise Interrupt

    settings = Settings(steps=6, lr=1e-3, log_every=1, save_seconds=0.0)
    with pytest.raises(Interrupt):
        train(SPEC, noisy()[0], Noise(), settings, tmp_path, watch)
    model, first, _ = noisy()
    train(SPEC, model, Noise(), settings, tmp_path)
    assert same(whole, model) and [tick for _, tick, _ in first.moments] == [2, 3, 4, 5]


@torch.no_grad()
def test_outside_training_nothing_is_drawn():
    model, first, _ = noisy()
    x = torch.randint(0, 64, (2, 8))
    before = model(x).logits
    with model.training_at(Moment(1, 0)):
        assert not torch.equal(model(x).logits, before)
    assert torch.equal(model(x).logits, before) and len(first.drawn) == 1
    call = Call.plain(torch.zeros(1, 3, 4))
    assert not call.training and torch.equal(call.uniform("x", (9,)), call.uniform("x", (9,)))
    model.recompute, run = True, Run(SPEC, model, Noise(), Settings(steps=2, lr=0.1))
    with torch.enable_grad():
        run.advance()
    assert not model.start(x).call.training


@torch.no_grad()
def test_two_forwards_of_one_moment_can_differ():
    model, first, _ = noisy()
    x = torch.randint(0, 64, (2, 8))
    with model.training_at(Moment(3, 2)):
        for seed in (0, 0, 1):
            model(x, seed=seed)
    assert first.drawn[0] == first.drawn[1] != first.drawn[2]
    with pytest.raises(ZeroDivisionError), model.training_at(Moment(3, 2)):
        raise ZeroDivisionError
    assert not model.start(x).call.training
