"""Adapters by hand: rows that turn and lengths apart, factors, prefixes; nothing changes at first, merged it is one."""

import pytest
import torch

import blockyard as by
from blockyard.check import check
from blockyard.core.spec import linear
from blockyard.model.attach import attached, attachments
from blockyard.model.save import stored
from blockyard.transform._base import make_transform

F64 = torch.float64
IDS = torch.arange(24).view(2, 12) * 7 % 256
ALL = ("lora:rank=2", "dora:rank=2", "ia3", "prefix:length=3", "bottleneck:inner=3", "adaptformer:inner=3")


def shaken(made, names, seed=1):
    """These numbers away from where they start."""
    own, draw = dict(made.named_parameters()), torch.Generator().manual_seed(seed)
    for name in names:
        own[name].data += 0.2 * torch.randn(own[name].shape, generator=draw, dtype=F64).to(own[name].dtype)
    return made


def model(recipe="llama", **settings):
    made = by.build(recipe, "tiny", **settings).double()
    return shaken(made, [name for name, _ in made.named_parameters()])


def grown(made, what):
    made = make_transform(what).apply(made).model
    return shaken(made, attached(made), 2)


def apart(a, b):
    return (a - b).abs().max().item()


@torch.no_grad()
@pytest.mark.parametrize("recipe", ["llama", "gpt2", "gla", "mamba2", "olmo_hybrid", "universal_transformer"])
@pytest.mark.parametrize("what", ALL, ids=lambda what: what.partition(":")[0])
def test_at_first_nothing_changes_to_the_bit_in_any_kind_of_model(recipe, what):
    made = model(recipe)
    try:
        found = make_transform(what).apply(made)
    except by.UsageError as error:
        says = {"prefix": "has queries by head", "adaptformer": "no channel of a step stands at"}  # of mixers alone
        assert recipe == "mamba2" and says[what.partition(":")[0]] in str(error)
        return
    assert torch.equal(found.model(IDS).logits, made(IDS).logits)
    assert len(found.covered) <= found.report["of"] and len(found.covered) == len(attachments(found.model))
    both = shaken(found.model, attached(found.model), 2)
    assert apart(both(IDS).logits, made(IDS).logits) > 1e-4
    plain = make_transform("detach").apply(both).model
    assert plain.spec == made.spec and torch.equal(plain(IDS).logits, made(IDS).logits)


@torch.no_grad()
def test_dora_by_hand_and_its_gradient_takes_lengths_for_constants():
    spec = by.spec("llama", "tiny").at("steps.1.part.up", bias=True)
    made = grown(shaken(by.build(spec).double(), ["steps.1.part.up.bias"]), "dora:rank=3,alpha=6,on=*.part.up")
    part, x = made.steps[1].part.up, torch.randn(5, 32, dtype=F64)
    turned = part.base.weight + 6 / 3 * part.up @ part.down
    want = x @ (part.magnitude[:, None] * turned / turned.norm(dim=1, keepdim=True)).T + part.base.bias
    assert apart(part(x), want) < 1e-12
    lengths = turned.norm(dim=1)
    with torch.enable_grad():
        part(x).sum().backward()
    wanted = 2 * (part.magnitude / lengths)[:, None] * (x.sum(0) @ part.down.T)
    assert apart(part.up.grad, wanted) < 1e-10
    fresh = make_transform("dora:rank=3").apply(model()).model.steps[0].part.qkv
    assert torch.equal(fresh.magnitude, fresh.base.weight.norm(dim=1)) and not fresh.up.any()


@torch.no_grad()
def test_a_row_without_length_stays_finite():
    made = model()
    made.steps[0].part.qkv.weight[3] = 0
    both = make_transform("dora:rank=2,on=*.qkv").apply(made).model
    assert torch.equal(both(IDS).logits, made(IDS).logits)


@torch.no_grad()
def test_ia3_by_hand_on_what_is_written_and_what_is_read():
    made = grown(model("gpt2"), "ia3")
    sides = {part.path: part.side for part in attachments(made)}
    assert sides == {"steps.0.part.qkv": "writes", "steps.2.part.qkv": "writes", "steps.1.part.down": "reads",
                     "steps.3.part.down": "reads"}  # fmt: skip
    qkv, down = made.steps[0].part.qkv, made.steps[1].part.down
    x, h = (torch.randn(5, part.base.weight.shape[1], dtype=F64) for part in (qkv, down))
    assert apart(qkv(x), (x @ qkv.base.weight.T + qkv.base.bias) * qkv.scale) < 1e-12
    assert apart(down(h), (h * down.scale) @ down.base.weight.T + down.base.bias) < 1e-12
    named = make_transform("ia3:on=(*.out,*.up)").apply(model()).model
    assert {p.path.rpartition(".")[2]: p.side for p in attachments(named)} == {"out": "reads", "up": "writes"}


@torch.no_grad()
@pytest.mark.parametrize("what", ["lora:rank=2,alpha=8", "dora:rank=2,alpha=8", "ia3"])
@pytest.mark.parametrize("recipe", ["llama", "gpt2", "mamba2"])
def test_merged_it_is_the_same_function(recipe, what):
    made = model(recipe)
    both = grown(made, what)
    found = make_transform("merge").apply(both)
    assert apart(found.model(IDS).logits, both(IDS).logits) < 1e-9 and not attachments(found.model) and not found.left
    assert found.model.spec == made.spec


@torch.no_grad()
def test_what_cannot_be_merged_exactly_is_refused():
    thin = by.build(by.spec("llama", "tiny").at("steps.1.part.up", spec=linear("low_rank", rank=3)))
    with pytest.raises(by.UsageError, match="low_rank is no full matrix; fold it before"):
        make_transform("merge").apply(grown(thin, "ia3:on=*.up"))
    small, _ = by.quantise(model().float(), 4)
    for what in ("lora", "dora", "ia3"):
        with pytest.raises(by.UsageError, match="store:packed: merge first, then pack"):
            make_transform("merge").apply(make_transform(what).apply(small).model)
    with pytest.raises(by.UsageError, match="attached to no projection"):
        make_transform("merge").apply(make_transform("prefix").apply(model()).model)


@torch.no_grad()
def test_on_packed_matrices_the_lengths_are_those_of_the_packed():
    small, _ = by.quantise(model().float(), 4)
    both = make_transform("dora:rank=2").apply(small).model
    part = both.steps[1].part.down
    eye = torch.eye(part.base.store.columns.size)
    rows = small.steps[1].part.down(eye).T
    assert apart(part.magnitude, rows.norm(dim=1)) < 1e-5 and torch.equal(both(IDS).logits, small(IDS).logits)
    assert apart(both.steps[1].part.down.base.matrix(), rows) < 1e-6
    with torch.enable_grad():
        shaken(both, attached(both))(IDS).logits.sum().backward()
    own = dict(both.named_parameters())
    assert all(bool(own[name].grad.any()) for name in attached(both))
    held = {name.replace(".base.", "."): value for name, value in stored(both).items()}
    assert all(torch.equal(value, held[name]) for name, value in stored(small).items())


@torch.no_grad()
@pytest.mark.parametrize("kv", [4, 2, 1])
def test_a_prefix_by_hand_with_heads_that_share(kv):
    made = grown(model("llama", **{"mixer.heads": 4, "mixer.kv_heads": kv}), "prefix:length=3")
    part = made.steps[0].part
    read = made(IDS, points={"steps.0.part.base:q": "read", "steps.0.part.base:context": "read",
                             "steps.0.part:added": "read"}).captures  # fmt: skip
    q, context, added = (
        next(v for (*_, path, name), v in read.items() if name == n) for n in ("q", "context", "added")
    )
    off = made(IDS, points={"steps.0.part:added": torch.zeros_like, "steps.0.part.base:context": "read"}).captures
    bare = next(v for (*_, name), v in off.items() if name == "context")
    for head in range(4):
        group = head // (4 // kv)
        weights = torch.softmax(q[:, :, head] @ part.keys[:, group].T / 8**0.5, -1)
        want = part.gate.flatten()[head] * weights @ part.values[:, group]
        assert apart(added.unflatten(2, (4, 8))[:, :, head], want) < 1e-12
    assert apart(context, bare + added) < 1e-12


@torch.no_grad()
@pytest.mark.parametrize("recipe", ["llama", "gla"])
def test_with_a_prefix_pieces_equal_the_whole_and_it_writes(recipe):
    both = grown(model(recipe), "prefix:length=3")
    whole, state = both(IDS).logits, both.init_state(2)
    first = both(IDS[:, :5], state)
    assert apart(both(IDS[:, 5:], first.state).logits, whole[:, 5:]) < 1e-9
    written = [int(step.tokens) for step in by.generate(both, IDS[:1], 3, by.SamplingParams(temperature=0))]
    ids = IDS[:1]
    for _ in range(3):
        ids = torch.cat([ids, both(ids).logits[:, -1:].argmax(-1)], 1)
    assert written == ids[0, -3:].tolist()


def test_a_mixer_without_queries_has_no_prefix():
    with pytest.raises(by.UsageError, match="has queries by head"):
        make_transform("prefix").apply(by.build("mamba", "tiny"))
    with pytest.raises(by.UsageError, match="mixer:mamba has no queries by head"):
        make_transform("prefix:on=steps.0.*").apply(by.build("mamba", "tiny"))


@pytest.mark.parametrize("name", ["dora:rank=2", "ia3", "prefix:length=3"])
def test_they_promise_what_transforms_do(name):
    assert all(verdict.ok for _, verdict in check(f"transform:{name}"))


@pytest.mark.parametrize("name", ["linear:dora", "linear:ia3", "linear:ia3:side=reads", "mixer:prefixed"])
def test_the_parts_keep_what_they_claim(name):
    bad = [(what, verdict.claim, verdict.reason) for what, verdict in check(name) if not verdict.ok]
    assert not bad
