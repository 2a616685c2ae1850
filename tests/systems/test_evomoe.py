"""What must hold of experts that grow from a channel, behind a gate that goes from dense to sparse."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from system_cases import F64, gap, grads, normal, part, shake, tokens
from torch.utils.flop_counter import FlopCounterMode

import blockyard as by
from blockyard.compare.plan.plan import Request, make_job, make_plan, steps_of
from blockyard.compare.run.job import run_job
from blockyard.core import Call, Spec
from blockyard.core.call import Moment
from blockyard.model.lineage import transformed
from blockyard.model.model import Watch
from blockyard.train.loop import Run, Settings

SIZE = dict(dim=16, layers=2, heads=2, vocab=32, ffn=24)
GATE = "dense_to_sparse"


def upcycle(model, **settings):
    """The grown model, and where its tensors came from."""
    return transformed(model, Spec.of("transform", "upcycle", settings))


def gate(**settings):
    return Spec.of("router", GATE, settings)


def experts(**settings):
    """Experts of any router in double precision, with scores far from even."""
    made = part("channel:experts", experts=4, expert=Spec.of("channel", "mlp", dict(inner=24)), **settings)
    made.router.weight.data *= 3
    return made


def during(x, progress=0.0, **more):
    """The call of a forward of training."""
    return Call.plain(x)._replace(tick=0, progress=progress, captures={}, **more)


def by_mask(made, x, call):
    """Every expert on all tokens, weighed."""
    weight, _ = made.router(x, call)
    return sum(weight[..., i, None] * expert(x, call)[0] for i, expert in enumerate(made.experts))


@pytest.mark.parametrize("progress", [0.0, 0.5])
def test_after_spawning_the_model_is_the_dense_one(progress):
    """(1) keep=1 and weights of sum one: nothing changes, in training or in evaluation; with masks it does."""
    dense, x = shake(by.build("evomoe", **SIZE).double()), tokens(2, 9, 32)
    router = gate(renormalise=True)
    grown, lineage = upcycle(dense, keep=1.0, router=router)
    assert gap(grown(x).logits, dense(x).logits) < 1e-10
    with grown.training_at(Moment(0, 3, 0, progress)):
        assert gap(grown(x).logits, dense(x).logits) < 1e-10
    masked, _ = upcycle(dense, keep=0.9, router=router)
    assert gap(masked(x).logits, dense(x).logits) > 1e-3
    a, b = (masked.steps[1].part.experts[i].up.weight for i in (0, 1))
    lost = ((a == 0).double().mean() + (b == 0).double().mean()) / 2
    assert not torch.equal(a, b) and 0.05 < lost < 0.15
    assert bool(((a == 0) | (a == dense.steps[1].part.up.weight)).all())
    assert lineage["steps.3.part.experts.2.down.weight"].path == "steps.3.part.down.weight"


@torch.no_grad()
def test_fewer_experts_are_active_the_colder_the_gate():
    """(2) without noise never more; all while hot, one when cold; never none."""
    x = normal(3, 50, 16)
    counts = []
    for hot in (1e6, 3.0, 1.0, 0.5, 0.2, 0.05, 1e-4):
        made = experts(router=gate(noise=0.0, hot=hot, cold=min(hot, 1e-4), least=0.2)).router
        counts.append((made(x, during(x))[0] > 0).sum(-1))
    assert all(bool((b <= a).all()) for a, b in pairwise(counts))
    assert bool((counts[0] == 4).all()) and bool((counts[-1] == 1).all())
    assert len(counts[2].unique()) > 1
    empty = experts(router=gate(noise=0.0, least=0.9)).router  # above 1/E: the largest stays
    assert bool(((empty(x, during(x))[0] > 0).sum(-1) >= 1).all())


@torch.no_grad()
def test_the_temperature_falls_with_the_run():
    made = experts(router=gate(hot=2.0, cold=0.5, since=0.2, until=0.8, noise=0.0)).router
    assert [round(made.temperature(p), 6) for p in (0.0, 0.2, 0.5, 0.8, 1.0)] == [2.0, 2.0, 1.0, 0.5, 0.5]
    x = normal(2, 9, 16)
    assert made.active(during(x, 0.79)) == 4 and made.active(during(x, 0.8)) == made.active(Call.plain(x)) == 1
    assert bool(((made(x, during(x, 0.8))[0] > 0).sum(-1) == 1).all())


def test_where_nothing_is_said_four_experts_cool_down_over_the_whole_run():
    """A switch of four; the other gate from 1 to a tenth, of whose shares a thousandth counts; both start small."""
    made, cooled = (by.make("channel:experts", dim=256, **each) for each in ({}, dict(router=gate())))
    assert len(made.experts) == 4 and made.balance == 0.01 and made.router.top == 1
    assert [cooled.router.temperature(p) for p in (0.0, 0.5, 1.0)] == pytest.approx([1.0, 0.1**0.5, 0.1])
    assert (cooled.router.least, cooled.router.noise, cooled.router.renormalise) == (0.001, 1.0, False)
    assert all(each.router.weight.std().item() == pytest.approx(0.02, rel=0.05) for each in (made, cooled))


@torch.no_grad()
def test_noise_is_drawn_in_training_only_and_repeats():
    made, x = experts(router=gate(until=0.5)).router, normal(2, 30, 16)
    late = during(x, 0.6)
    assert torch.equal(made(x, late)[0], made(x, late)[0])
    assert not torch.equal(made(x, late)[0], made(x, late._replace(tick=1))[0])
    assert torch.equal(made(x, Call.plain(x))[0], made(x, Call.plain(x)._replace(seed=9))[0])


@pytest.mark.parametrize("router", [Spec("router", "top"), Spec.of("router", "top", dict(top=2)), gate(noise=0.5)])
def test_gathered_tokens_are_masked_ones(router):
    """(3) forward and gradients, in training and in evaluation."""
    made, x = experts(router=router), normal(2, 13, 16)
    for call in (Call.plain(x), during(x, 0.3)):
        a = grads(lambda x, call=call: made(x, call)[0], made, x)
        b = grads(lambda x, call=call: by_mask(made, x, call), made, x)
        assert gap(made(x, call)[0], by_mask(made, x, call)) < 1e-12
        assert all(gap(p, q) < 1e-10 for p, q in zip(a, b)) and any(p.abs().max() > 0.1 for p in a)


def test_an_expert_computes_its_own_tokens_only():
    made, x, seen = experts(), normal(2, 13, 16), []
    for expert in made.experts:
        expert.up.register_forward_hook(lambda _, given, out: seen.append(given[0].shape[:2].numel()))
    made(x)
    assert sum(seen) == 26 and len(seen) > 1


def test_what_experts_cost_is_known_before_anything_is_made():
    """On no device all get as many tokens, and in sum those that there are."""
    costs = []
    for device in ("meta", "cpu"):
        with torch.device(device), FlopCounterMode(display=False) as products:
            by.make("channel:experts", dim=16)(torch.ones(2, 8, 16))
        costs.append(products.get_total_flops())
    assert costs[0] == costs[1] > 0


def balance(made, x, call):
    watch = Watch()
    made(x, call)
    watch.take(call.captures)
    return watch.penalty()


def test_an_even_load_costs_the_setting_and_no_more():
    """(4) alpha when uniform, by hand otherwise; padding counts for nothing."""
    made = experts(balance=0.3, router=gate(noise=0.0))
    x = normal(2, 8, 16)
    with torch.no_grad():
        made.router.weight.zero_()
    assert balance(made, x, during(x)).item() == pytest.approx(0.3, abs=1e-12)
    made = experts(balance=0.3)
    valid = torch.ones(2, 8, dtype=torch.bool)
    valid[1, 3:] = False
    p = (x @ made.router.weight.T).softmax(-1)[valid]
    f = torch.nn.functional.one_hot(p.argmax(-1), 4).double().mean(0)
    want = 0.3 * 4 * (f * p.mean(0)).sum()
    found = [balance(made, y, during(y, valid=valid)) for y in (x, torch.where(valid[..., None], x, 7.0))]
    assert torch.allclose(found[0], want) and torch.allclose(found[1], want) and want > 0.3
    assert balance(made, x, Call.plain(x)) is None


@torch.no_grad()
def test_at_last_it_is_a_switch():
    """(5) one expert a token, weighed by its share: evaluation is router:top."""
    made, x = experts(router=gate()), normal(2, 13, 16)
    switch = experts()
    switch.load_state_dict(made.state_dict())
    assert torch.equal(made(x)[0], switch(x)[0])
    assert bool((switch.router(x, Call.plain(x))[0] < 1).all())


@pytest.mark.slow
def test_the_switch_is_that_of_others():
    """Oracle: SwitchTransformersSparseMLP with room for all tokens."""
    transformers = pytest.importorskip("transformers")
    from transformers.models.switch_transformers.modeling_switch_transformers import SwitchTransformersSparseMLP

    config = transformers.SwitchTransformersConfig(
        d_model=16, d_ff=24, num_experts=4, expert_capacity=64, router_jitter_noise=0.0, dropout_rate=0.0,
        router_bias=False, dense_act_fn="relu",
    )  # fmt: skip
    theirs = SwitchTransformersSparseMLP(config).eval()
    act = Spec.of("channel", "mlp", dict(inner=24, activation=Spec("activation", "relu")))
    mine = shake(by.make("channel:experts", dim=16, expert=act))
    with torch.no_grad():
        theirs.router.classifier.weight.copy_(mine.router.weight)
        ends = (
            list(theirs.experts.values()) if isinstance(theirs.experts, torch.nn.ModuleDict) else list(theirs.experts)
        )
        for own, other in zip(mine.experts, ends):
            other.wi.weight.copy_(own.up.weight)
            other.wo.weight.copy_(own.down.weight)
        x = normal(2, 13, 16).float()
        found = theirs(x)
        assert gap(mine(x)[0], found[0] if isinstance(found, tuple) else found) < 1e-5


class Noise:
    def next(self, step):
        return np.random.default_rng(step).integers(0, 32, (4, 9))


def test_the_program_grows_anneals_and_trains_every_gate():
    system = by.spec("evomoe", **SIZE, dense=0.4, sparse=0.7)
    model = by.build(system)
    run = Run(system, model, Noise(), Settings(steps=10, lr=1e-2))
    active = []
    for step in range(10):
        run.advance()
        grown = [p for p in run.model.parts() if p.spec.name == GATE]
        if grown:
            active.append(
                (step, grown[0].active(Call.plain(torch.zeros(1, 1, 16))._replace(tick=0, progress=step / 10)))
            )
    assert active == [(4, 4), (5, 4), (6, 4), (7, 1), (8, 1), (9, 1)]
    assert run.model is not model and all(p.spec.name == "mlp" for p in model.parts() if p.spec.kind == "channel")
    assert all(run.moments[p]["exp_avg"].abs().max() > 0 for n, p in run.model.named_parameters() if "router" in n)


@torch.no_grad()
def test_edits_of_a_channel_become_those_of_its_experts():
    spec = by.spec("llama", "tiny").at("steps.1.part", **{"axes.inner": 20})
    model = by.build(spec).double()
    grown, _ = upcycle(model, experts=2, keep=1.0, where="steps.1.part", router=gate(renormalise=True))
    assert grown.axes["steps.1.part.experts.1.inner"].size == 20
    assert gap(grown(tokens(2, 9)).logits, model(tokens(2, 9)).logits) < 1e-10
    with pytest.raises(by.UsageError, match="several modules"):
        upcycle(by.build(by.spec("llama", "tiny").at("steps.*.part.down", rank=4, spec=Spec("linear", "low_rank"))))
    with pytest.raises(by.UsageError, match="no channel"):
        upcycle(grown, where="steps.1.part")
    with pytest.raises(by.UsageError, match="top=5"):
        by.make("channel:experts", dim=16, router=Spec.of("router", "top", dict(top=5)))
    assert next(grown.parameters()).dtype == F64


@pytest.mark.slow
def test_a_comparison_scores_and_saves_what_came_out(tmp_path):
    """The grown model, not the one that went in."""
    request = Request(("evomoe",), task="markov_mix:length=16", params="60k", tokens=512, batch=8, seeds=2)
    plan = make_plan(request, lambda _: None)
    plan = replace(plan, steps=steps_of(plan, {}))
    job = make_job(plan, plan.arms[0], "final", plan.seeds[0], 1e-3)
    result = run_job(job, tmp_path / "run", lambda *_: None)
    saved = by.load(tmp_path / "run" / "model")
    assert result.finished and sum(p.numel() for p in saved.parameters()) == plan.arms[0].params
    assert {step.part.spec.name for step in saved.steps} == {"attention", "experts"}
