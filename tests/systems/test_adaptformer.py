"""AdaptFormer: the lines of its card, the branch by hand, and what reads the stream where there is none."""

from dataclasses import replace

import pytest
import torch
from system_cases import F64, gap, normal, part, shake

import blockyard as by
from blockyard.core import Call, Spec
from blockyard.core.call import Moment
from blockyard.core.spec import channel, objective, phase, transform
from blockyard.model.attach import attached, attachments, place
from blockyard.model.count import count_params, on_meta
from blockyard.train.loop import Run, Settings
from blockyard.transform._base import make_transform

HEADS = ("attached", "head.*")


def images(made, rows=5, seed=0):
    batch = made.example(rows, 16, torch.Generator().manual_seed(seed))
    first = next(made.parameters())
    tokens = batch.tokens.to(first.dtype) if batch.tokens.is_floating_point() else batch.tokens
    return replace(batch, tokens=tokens)


def says(made, batch, **more):
    return next(iter(made(batch, **more).prediction.values()))


def backbone(name="vit", **settings):
    return shake(by.build(name, "tiny", **settings).double())


def adapted(made, what="adaptformer:inner=8"):
    return make_transform(what).apply(made).model


class Pictures:
    """Batches of a classifier of ten, a function of the step."""

    def __init__(self, made):
        self.made = made

    def next(self, step):
        tokens = self.made.example(6, 16, torch.Generator().manual_seed(step)).tokens
        return {"tokens": tokens.numpy(), "targets": (torch.arange(6) * (step + 3) % 10).numpy()}


def trained(what, train=HEADS, steps=3, spec=None, decay=0.1):
    """A run of a phase that begins with a transform, and the backbone that it began from."""
    system = spec or by.spec("vit", "tiny")
    name, _, settings = what.partition(":")
    given = make_transform(what) and transform(name, **by.systems.parse_target(f"x:{settings}")[2])
    system = system.but(program=(phase(objective("classes"), apply=(given,), train=train),))
    start = shake(by.build(system))
    run = Run(system, start, Pictures(start), Settings(steps=steps, lr=1e-2, weight_decay=decay))
    for _ in range(steps):
        run.advance()
    return run.model, start


MORE = [pytest.param(name, marks=pytest.mark.slow) for name in ("gla", "swin", "convnext", "mamba2_hybrid", "transtab")]


@torch.no_grad()
@pytest.mark.parametrize("name", ["vit", "llama", "bert", "metaformer", *MORE])
def test_1_at_first_it_is_the_backbone_to_the_bit(name):
    """(1)"""
    made = backbone(name)
    batch = images(made, rows=2)
    before = says(made, batch)
    for what in ("adaptformer:inner=3,of=either", "bottleneck:inner=3", "lora:rank=2"):
        found = make_transform(what).apply(made)
        assert torch.equal(says(found.model, batch), before) and found.covered and not attachments(made)
        assert {part.path for part in attachments(found.model)} == found.covered.keys()
        for path, tensor in found.model.named_parameters():
            came = place(path, attachments(found.model))
            assert came is None or torch.equal(tensor, dict(made.named_parameters())[came])
        moved = says(shake(found.model), batch)
        assert moved.isfinite().all() and not torch.equal(moved, before)


def test_2_the_first_gradient_goes_to_the_way_up_alone():
    """(2)"""
    made = adapted(backbone())
    with made.training_at(Moment(seed=0, tick=0)):
        says(made, images(made)).square().sum().backward()
    for branch in (each.branch for each in attachments(made)):
        assert not branch.down.grad.any() and not branch.down_bias.grad.any()
        assert branch.up.grad.abs().max() > 1e-6 and branch.up_bias.grad.abs().max() > 1e-6


def test_3_a_factor_of_zero_is_the_backbone_for_ever():
    """(3)"""
    made, start = trained("adaptformer:inner=8,factor=0", train="attached")
    assert torch.equal(says(made, images(made)), says(start, images(made)))
    other, _ = trained("adaptformer:inner=8", train="attached")
    assert gap(says(other, images(made)), says(start, images(made))) > 1e-3


def test_4_so_many_numbers_a_layer():
    """(4)"""
    made, d, m = backbone(), 32, 8
    found = make_transform(f"adaptformer:inner={m}").apply(made)
    assert found.report["attached"] == 2 * (2 * d * m + m + d) and len(found.covered) == 2
    whole = make_transform("adaptformer").apply(on_meta(by.spec("vit", "b")))
    assert whole.report["attached"] == 1_189_632 and 0.013 < whole.report["share"] < 0.0145
    learned = make_transform(f"adaptformer:inner={m},learned=yes").apply(made)
    assert learned.report["attached"] == found.report["attached"] + 2


@pytest.mark.parametrize("what", ["adaptformer:inner=8", "bottleneck:inner=4", "lora:rank=2", "lora:dropout=0.3"])
def test_5_what_is_frozen_stays_to_the_bit(what):
    """(5)"""
    made, start = trained(what)
    taken, before = attachments(made), dict(start.named_parameters())
    for name, tensor in made.named_parameters():
        came = place(name, taken)
        moves = came is None or came.startswith("head.")
        assert moves is not (came in before and torch.equal(tensor, before[came])), name
        assert tensor.requires_grad is moves


def test_5_statistics_of_what_is_frozen_stay_too():
    spec = by.spec("vit", "tiny", **{"residual.norm": "norm:batch", "head.norm": "norm:batch"})
    made, start = trained("adaptformer:inner=4", spec=spec)
    held, taken = dict(start.named_buffers()), attachments(made)
    same = {name: torch.equal(value, held[place(name, taken)]) for name, value in made.named_buffers()}
    assert any(same.values()) and all(kept is not name.startswith("head.") for name, kept in same.items())


@torch.no_grad()
@pytest.mark.parametrize("what", ["adaptformer:inner=8,of=either", "bottleneck:inner=4", "lora:rank=2"])
def test_6_detaching_restores_the_backbone(what, tmp_path):
    """(6)"""
    made = backbone()
    grown = shake(adapted(made, what))
    for name, tensor in grown.named_parameters():
        came = place(name, attachments(grown))
        if came is not None:
            tensor.copy_(dict(made.named_parameters())[came])
    found = make_transform("detach").apply(grown)
    assert found.model.spec == made.spec and not attachments(found.model)
    assert all(torch.equal(p, q) for p, q in zip(found.model.state_dict().values(), made.state_dict().values()))
    assert found.model.state_dict().keys() == made.state_dict().keys()
    assert torch.equal(says(found.model, images(made)), says(made, images(made)))
    assert {origin.path for origin in found.lineage.values()} <= dict(grown.named_parameters()).keys()


def by_hand(made, flow, factor):
    """Every channel with its branch, written out: on the stream x itself, while the channel reads N(x)."""
    for index, step in enumerate(made.steps):
        if step.part.spec.name != "beside":
            flow = made.run(flow, [index])
            continue
        x, branch = flow.x, step.part.branch
        y = step.part.base(step.rule.norm(x), flow.call)[0]
        low = torch.relu(x @ branch.down.T + branch.down_bias)
        flow = flow._replace(carry=x + y + factor * (low @ branch.up.T + branch.up_bias))
    return next(iter(made.finish(flow).prediction.values()))


@torch.no_grad()
def test_the_branch_reads_the_stream_and_not_what_the_norm_makes_of_it():
    made = shake(adapted(backbone(), "adaptformer:inner=8,factor=0.3"))
    batch = images(made)
    assert gap(says(made, batch), by_hand(made, made.start(batch), 0.3)) < 1e-12
    normed = shake(adapted(backbone(), "adaptformer:inner=8,factor=0.3,norm=layer"))
    for each in attachments(normed):
        each.branch.norm.gain.fill_(1.0)
        each.branch.norm.bias.zero_()
    assert gap(says(normed, batch), says(made, batch)) > 1e-3
    off = {"*:added": torch.zeros_like}
    assert torch.equal(says(made, batch, points=off), says(make_transform("detach").apply(made).model, batch))


@torch.no_grad()
def test_behind_is_a_skip_of_its_own():
    made, x = part("channel:behind", branch=channel("bottleneck", inner=3), factor=0.7), normal(2, 9, 16)
    z, branch = made.base(x)[0], made.branch
    low = torch.relu(z @ branch.down.T + branch.down_bias)
    assert gap(made(x)[0], z + 0.7 * (low @ branch.up.T + branch.up_bias)) < 1e-12
    beside = part("channel:beside", branch=channel("bottleneck", inner=3), factor=0.7)  # alone x is the stream as well
    assert gap(beside(x)[0], beside.base(x)[0] + 0.7 * beside.branch(x)[0]) < 1e-12
    mixed = part("mixer:behind", branch=channel("bottleneck", inner=3))
    z = mixed.base(x)[0]
    assert gap(mixed(x)[0], z + mixed.branch(z)[0]) < 1e-12


@torch.no_grad()
@pytest.mark.parametrize("rule", ["prenorm", "postnorm", "peri", "outnorm", "scaled"])
def test_every_rule_gives_the_stream_as_it_stands(rule):
    spec = by.spec("vit", "tiny")
    spec = spec.but(model=spec["model"].but(residual=Spec("residual", rule)))
    made = shake(adapted(by.build(spec).double()))
    seen, batch = [], images(made)
    for each in attachments(made):
        each.branch.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    flow, want = made.start(batch), []
    for index in range(len(made.steps)):
        want.append(flow.x)
        flow = made.run(flow, [index])
    assert len(seen) == 2 and all(torch.equal(a, b) for a, b in zip(seen, want[1::2]))


def test_dropout_is_for_training_and_keeps_the_mean():
    made, x = part("channel:bottleneck", inner=128, dropout=0.25), normal(4, 10, 16)
    call = Call.plain(x)
    assert torch.equal(made(x, call)[0], made(x, call._replace(seed=3))[0])
    during = call._replace(tick=2, seed=1)
    assert torch.equal(made(x, during)[0], made(x, during)[0])
    kept = call._replace(tick=0).dropout("a", torch.ones(400, 100, dtype=F64), 0.25)
    assert set(kept.unique().tolist()) == {0.0, 1 / 0.75} and abs(kept.mean() - 1) < 0.01
    with torch.no_grad():
        drawn = torch.stack([made(x, call._replace(tick=tick))[0] for tick in range(40)])
    assert gap(drawn.mean(0), made(x, call)[0]) < 0.1 and not torch.equal(drawn[0], drawn[1])


def test_it_starts_as_the_reference_does():
    made = by.make("channel:bottleneck", dim=400, inner=50)
    bound = 400**-0.5
    assert made.down.abs().max() <= bound and abs(made.down.std().item() * 3**0.5 / bound - 1) < 0.02
    assert not made.up.any() and not made.up_bias.any() and not made.down_bias.any()
    assert by.make("channel:bottleneck", dim=8).down.shape == (64, 8) and made.dropout == 0.1
    assert by.make("channel:beside", dim=8).factor == 0.1 and by.make("mixer:behind", dim=8).factor == 1.0
    behind = by.make("channel:behind", dim=8)
    assert behind.factor == 1.0 and behind.base.spec.name == "mlp" and behind.branch.spec.name == "bottleneck"
    decayed = {use.path.rpartition(".")[2]: use.decay for use in adapted(backbone()).uses if ".branch." in use.path}
    assert decayed == {"down": True, "down_bias": False, "up": True, "up_bias": False}
    learned = by.make("channel:beside", dim=8, learned=True).factor
    assert isinstance(learned, torch.nn.Parameter) and learned.shape == () and abs(learned.item() - 0.1) < 1e-7


@pytest.mark.parametrize("what, says", [
    ("adaptformer:on=nothing", "no channel of a step stands at nothing"),
    ("detach", "nothing is attached"),
    ("merge", "nothing is attached"),
    ("lora:on=steps", "no projection stands at steps; among them are stem.proj, steps.0.part.qkv"),
])  # fmt: skip
def test_what_is_not_there_is_named(what, says):
    with pytest.raises(by.UsageError, match=says):
        make_transform(what).plan(backbone())


def test_a_bend_cannot_be_merged_and_a_part_inside_another_has_no_stream(monkeypatch):
    grown = adapted(backbone())
    with pytest.raises(by.UsageError, match="attached to no projection"):
        make_transform("merge").plan(grown)
    with pytest.raises(by.UsageError, match="channel:beside is no part of a matrix"):
        make_transform("merge:on=steps.1.part").apply(grown)
    inside = by.spec("llama", "tiny").override("channel.inner", 8)
    experts = Spec.of("channel", "experts", dict(experts=2, expert=Spec("channel", "beside")))
    with pytest.raises(by.UsageError, match="only the sublayer of a step can"):
        by.build(inside.at("steps.1.part", spec=experts))
    monkeypatch.setattr(type(grown.steps[1].part.branch), "claims", dict(causal=True, bidirectional=True))
    with pytest.raises(by.UsageError, match="reads each token alone, channel:bottleneck does not"):
        by.make("mixer:beside", dim=8)


def test_a_phase_of_what_is_attached_asks_for_something_attached():
    for train, why in (("attached", "nothing is attached"), (("head.*", "nothing.*"), "nothing")):
        system = by.spec("vit", "tiny").but(program=(phase(objective("classes"), train=train),))
        made = by.build(system)
        with pytest.raises(by.UsageError, match=why):
            Run(system, made, Pictures(made), Settings(steps=1, lr=1e-2)).enter(0)


def test_a_killed_run_goes_on_with_what_is_attached(tmp_path):
    from blockyard.train.loop import train

    pre = phase(objective("classes"), share=0.5)
    post = phase(objective("classes"), share=0.5, apply=(transform("adaptformer", inner=4),), train=HEADS)
    system = by.spec("vit", "tiny").but(program=(pre, post))
    settings = Settings(steps=6, lr=1e-2, log_every=1, save_seconds=0.0)
    whole = train(system, by.build(system), Pictures(by.build(system)), settings)

    def stop(step, _):
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(system, by.build(system), Pictures(by.build(system)), settings, tmp_path, stop)
    again = train(system, by.build(system), Pictures(by.build(system)), settings, tmp_path)
    assert all(torch.equal(p, q) for p, q in zip(again.model.parameters(), whole.model.parameters()))
    assert count_params(system) == sum(p.numel() for p in whole.model.parameters())
    assert Spec.from_json(system.to_json()) == system and len(attached(whole.model)) == 8


@pytest.mark.parametrize("then, share", [("beside", 1), ("behind", 1), ("lora", 18 / 17), ("head", 0), ("all", 0)])
def test_the_recipe_adapts_in_each_way_by_as_many_numbers(then, share):
    spec = by.spec("adaptformer", "tiny", inner=8, then=then)
    more = count_params(spec) - count_params(by.spec("vit", "tiny"))
    assert abs(more - share * 2 * (2 * 32 * 8 + 8 + 32)) < 64
    run = Run(spec, by.build(spec), Pictures(by.build(spec)), Settings(steps=4, lr=1e-2))
    for _ in range(4):
        run.advance()
    grows = [name for name, p in run.model.named_parameters() if p.requires_grad and not name.startswith("head.")]
    assert len(grows) == {"head": 0, "all": len([*run.model.parameters()]) - 4}.get(then, len(attached(run.model)))
