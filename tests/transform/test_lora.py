"""What is attached to a model: pairs by hand and by peft, merged, narrowed, taken off, packed."""

import pytest
import torch

import blockyard as by
from blockyard.check import check
from blockyard.core import Call
from blockyard.core.spec import channel, linear
from blockyard.model.attach import attached, attachments, detach, place, seat
from blockyard.model.lineage import pairs
from blockyard.transform._base import make_transform
from blockyard.transform.take import take

F64 = torch.float64


def shaken(made, seed=1):
    """Every number away from where it starts."""
    draw = torch.Generator().manual_seed(seed)
    for p in made.parameters():
        p.data += 0.1 * torch.randn(p.shape, generator=draw, dtype=F64).to(p.dtype)
    return made


def llama(seed=1, **settings):
    return shaken(by.build("llama", "tiny", **settings).double(), seed)


def grown(made, *what, seed=2):
    """The model with things attached, none of which still says nothing."""
    held = dict(made.named_parameters())
    for each in what:
        made = make_transform(each).apply(made).model
    made, own = shaken(made, seed), attachments(made)
    for name, p in made.named_parameters():
        if (came := place(name, own)) is not None:
            p.data.copy_(held[came])
    return made


IDS = torch.arange(24).view(2, 12) * 7 % 256


def apart(a, b):
    return (a - b).abs().max().item()


@torch.no_grad()
@pytest.mark.parametrize("base", [linear("dense", bias=True), linear("low_rank", rank=3)], ids=lambda s: s.name)
def test_a_pair_by_hand(base):
    spec = by.spec("llama", "tiny").at("steps.1.part.up", spec=base)
    made = grown(shaken(by.build(spec).double()), "lora:rank=5,alpha=20,on=*.part.up")
    part, x = made.steps[1].part.up, torch.randn(3, 4, 32, dtype=F64)
    want = part.base(x) + 20 / 5 * (x @ part.down.T) @ part.up.T
    assert apart(part(x), want) < 1e-12 and part.down.shape == (5, 32) and part.base.spec == base
    once = grown(llama(), "lora:rank=5").steps[1].part.up
    assert apart(once(x), once.base(x) + (x @ once.down.T) @ once.up.T) < 1e-12
    fresh = make_transform("lora:rank=64").apply(llama()).model.steps[1].part.up
    assert not fresh.up.any() and 0.98 * 32**-0.5 < fresh.down.abs().max() <= 32**-0.5
    other = make_transform("lora:rank=64,seed=1").apply(llama()).model.steps[1].part.up
    assert not torch.equal(other.down, fresh.down)


@torch.no_grad()
def test_dropout_falls_on_what_the_pair_reads_alone():
    part, x = grown(llama(), "lora:rank=2,dropout=0.5").steps[1].part.up, torch.ones(4, 9, 32, dtype=F64)
    call = Call.plain(x)
    assert torch.equal(part(x, call), part(x))
    during = call._replace(tick=3, seed=1)
    read = during.dropout(part.path, x, 0.5)
    assert apart(part(x, during), part.base(x) + (read @ part.down.T) @ part.up.T) < 1e-12
    assert set(read.unique().tolist()) == {0.0, 2.0}


@torch.no_grad()
@pytest.mark.parametrize("alpha", [None, 16])
def test_the_pair_is_that_of_peft(alpha):
    peft = pytest.importorskip("peft")
    theirs = torch.nn.Sequential(torch.nn.Linear(12, 20), torch.nn.Linear(20, 7, bias=False)).double()
    rank = 4
    config = peft.LoraConfig(r=rank, lora_alpha=alpha or rank, target_modules=["0", "1"], lora_dropout=0.0)
    wrapped = peft.get_peft_model(theirs, config).double()
    x = y = torch.randn(5, 12, dtype=F64)
    for index, (reads, biased) in enumerate([(12, True), (20, False)]):
        layer = wrapped.base_model.model[index]
        a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        b.copy_(torch.randn(b.shape, dtype=F64))
        spec = by.spec("vit", "tiny", dim=reads, heads=1, ffn=len(b)).at("steps.1.part.up", bias=biased)
        pair = f"lora:rank={rank}{f',alpha={alpha}' if alpha else ''},on=steps.1.part.up"
        mine = make_transform(pair).apply(by.build(spec).double()).model.steps[1].part.up
        assert a.shape == mine.down.shape and not mine.up.any()
        mine.base.weight.copy_(layer.base_layer.weight)
        if biased:
            mine.base.bias.copy_(layer.base_layer.bias)
        mine.down.copy_(a)
        mine.up.copy_(b)
        y = mine(y)
    assert apart(y, wrapped(x)) < 1e-6


@torch.no_grad()
def test_merged_it_is_the_same_function():
    made = llama()
    spec = made.spec.at("steps.1.part.down", spec=linear("low_rank", rank=3))
    made = shaken(by.build(spec).double())
    both = grown(made, "lora:rank=2,alpha=8", "lora:rank=3,on=*.qkv")
    says = both(IDS).logits
    found = make_transform("merge").apply(both)
    assert apart(found.model(IDS).logits, says) < 1e-12 and apart(made(IDS).logits, says) > 1e-3
    assert not attachments(found.model) and not found.left and len(found.covered) == 8 + 2
    qkv, was = found.model.steps[0].part.qkv.weight, both.steps[0].part.qkv
    want = was.base.base.weight + 4 * was.base.up @ was.base.down + was.up @ was.down
    assert apart(qkv, want) < 1e-14
    thin = found.model.steps[1].part.down
    assert thin.spec == linear("low_rank", rank=5) and torch.equal(thin.up[:, :3], both.steps[1].part.down.base.up)
    assert found.lineage["steps.0.part.qkv.weight"].path == "steps.0.part.qkv.base.base.weight"
    again = by.build(found.model.spec).double()
    assert [p.shape for p in again.parameters()] == [p.shape for p in found.model.parameters()]
    single = make_transform("merge").apply(both.float()).model
    assert single.steps[0].part.qkv.weight.dtype == torch.float32 and apart(single(IDS).logits, says) < 1e-4


@torch.no_grad()
def test_what_is_named_is_merged_or_taken_off_and_the_rest_stays():
    both = grown(llama(), "lora:rank=2", "adaptformer:inner=3")
    says = both(IDS).logits
    found = make_transform("merge").apply(both)
    assert set(found.left) == {"steps.1.part", "steps.3.part"} and apart(found.model(IDS).logits, says) < 1e-12
    some = make_transform("merge:on=(steps.0.part.qkv,*.down)").apply(both)
    assert set(some.covered) == {"steps.0.part.qkv", *(f"steps.{i}.part.base.down" for i in (1, 3))}
    assert apart(some.model(IDS).logits, says) < 1e-12
    less = make_transform("detach:on=steps.1.part.up").apply(both)
    assert set(less.covered) == {"steps.1.part.base.up"} and len(less.left) == 9
    assert less.model.steps[1].part.base.up.spec.name == "dense" and less.model.steps[1].part.spec.name == "beside"
    outer = make_transform("detach:on=steps.*.part").apply(both).model
    assert outer.spec == grown(llama(), "lora:rank=2").spec


@torch.no_grad()
def test_of_two_around_one_part_either_may_go():
    made = llama()
    both = grown(made, "lora:rank=2,on=*.qkv", "lora:rank=3,on=*.qkv")
    inner, outer = both.steps[0].part.qkv.base, both.steps[0].part.qkv
    assert (inner.spec["rank"], outer.spec["rank"]) == (2, 3) and seat(outer, attachments(both)) == "steps.0.part.qkv"
    left, _ = detach(both, [outer])
    assert left.steps[0].part.qkv.spec["rank"] == 2 and torch.equal(left.steps[0].part.qkv.down, inner.down)
    left, lineage = detach(both, [inner])
    assert left.steps[0].part.qkv.spec["rank"] == 3 and torch.equal(left.steps[0].part.qkv.down, outer.down)
    assert lineage["steps.0.part.qkv.base.weight"].path == "steps.0.part.qkv.base.base.weight"
    assert torch.equal(detach(both)[0](IDS).logits, made(IDS).logits)


@torch.no_grad()
def test_edits_move_in_and_out_with_their_modules():
    spec = by.spec("llama", "tiny").at("steps.*.part.down", spec=linear("low_rank", rank=4))
    made = take(shaken(by.build(spec).double()), "steps.1.part.inner", range(40))[0]
    made = take(made, "steps.3.part.down.rank", [0, 2])[0]
    says = made(IDS).logits
    both = grown(made, "lora:rank=2", "adaptformer:inner=3,of=either")
    off = {"*:added": torch.zeros_like}
    assert torch.equal(both(IDS, points=off).logits, says) and apart(both(IDS).logits, says) > 1e-3
    assert both.axes["steps.1.part.base.inner"].size == 40
    assert both.axes["steps.3.part.base.down.base.rank"].size == 2
    left = make_transform("detach").apply(both).model
    assert torch.equal(left(IDS).logits, says)
    for known in (left, by.build(left.spec)):
        assert {path: axis.size for path, axis in known.axes.items()} == {p: a.size for p, a in made.axes.items()}


@torch.no_grad()
def test_a_spec_may_have_what_is_attached_from_the_start():
    spec = by.spec("llama", "tiny")
    spec = spec.but(model=spec["model"].but(linear=linear("lora", rank=2, base=linear("low_rank", rank=3))))
    spec = spec.override("model.length", 64).map(
        lambda each: channel("beside", base=each) if each.kind == "channel" else each
    )
    made = shaken(by.build(spec).double())
    assert len(attachments(made)) == 10 and isinstance(attached(made), list)
    plain = make_transform("detach").apply(made).model
    off = {"*:added": torch.zeros_like}
    assert torch.equal(plain(IDS).logits, made(IDS, points=off).logits) and not attachments(plain)
    assert {p.spec.name for p in plain.parts() if p.spec.kind == "linear"} == {"low_rank"}
    assert apart(make_transform("merge").apply(made).model(IDS).logits, made(IDS).logits) < 1e-12


@torch.no_grad()
def test_it_narrows_with_what_it_is_attached_to():
    both = grown(llama(), "lora:rank=4,alpha=8", "adaptformer:inner=6")
    for axis in ("steps.1.part.base.inner", "steps.0.part.qkv.rank", "steps.1.part.branch.inner", "stream"):
        size = both.axes[axis].size
        turned, _ = take(both, axis, torch.arange(size).flip(0))
        assert apart(turned(IDS).logits, both(IDS).logits) < 1e-12
        narrow, lineage = take(both, axis, torch.arange(size - 2))
        assert lineage and by.build(narrow.spec).axes[axis].size == size - 2
        assert narrow.steps[0].part.qkv.factor == 2.0 and len([*pairs(both, narrow, lineage)]) == len(lineage) + sum(
            name not in lineage for name, _ in narrow.named_parameters()
        )


@torch.no_grad()
def test_it_goes_onto_what_is_packed_and_is_not_merged_there():
    made = llama().float()
    small, _ = by.quantise(made, 8)
    both = make_transform("lora:rank=2").apply(small).model
    assert torch.equal(both(IDS).logits, small(IDS).logits)
    assert apart(shaken(both)(IDS).logits, small(IDS).logits) > 1e-3
    with pytest.raises(by.UsageError, match="base keeps its matrix as store:packed: merge first, then pack"):
        make_transform("merge").apply(both)
    later = by.quantise(make_transform("lora:rank=2").apply(made).model, 8)[0]
    assert later.steps[0].part.qkv.base.store.spec.name == "packed"


@pytest.mark.parametrize("name", ["lora", "lora:rank=2,alpha=4,on=*.qkv", "adaptformer:inner=4", "bottleneck:inner=4",
                                  "detach", "merge"])  # fmt: skip
def test_they_promise_what_transforms_do(name):
    assert all(verdict.ok for _, verdict in check(f"transform:{name}"))


def test_slots_of_a_transform_that_nobody_fills_have_what_is_usual():
    for text in ("upcycle:experts=2", "adaptformer"):
        made = make_transform(text).apply(by.build("llama", "tiny"))
        assert made.covered and by.build(made.model.spec).spec == made.model.spec


def test_a_pair_of_its_own_defaults():
    spec = by.spec("llama", "tiny")
    part = by.build(spec.but(model=spec["model"].but(linear=linear("lora")))).steps[1].part.up
    assert part.down.shape == (8, 32) and part.factor == 1.0 and part.dropout == 0.0
    assert part.base.spec.name == "dense" and part.points == ("hidden", "added")
    with pytest.raises(by.UsageError, match="must be a number from 0 to below 1"):
        make_transform("lora:dropout=1.0")
    assert set(make_transform("lora").plan(llama()).values()) == {"rank 8"}
    with pytest.raises(by.UsageError) as said:
        make_transform("lora:on=nothing").plan(llama())
    assert str(said.value).count(".part.") == 6  # of the eight there are


def test_where_everything_came_from_is_said():
    made = llama()
    found = make_transform("lora:on=*.qkv").apply(made)
    moved = {f"steps.{i}.part.qkv.base.weight": f"steps.{i}.part.qkv.weight" for i in (0, 2)}
    assert {name: origin.path for name, origin in found.lineage.items()} == moved
    assert len([*pairs(made, found.model, found.lineage)]) == len([*made.parameters()])
