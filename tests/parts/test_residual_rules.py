"""Residual rules: each by its equation and at its limits, and all of them in what a model does with them."""

import warnings

import pytest
import torch

import blockyard as by
from blockyard.core import Call, registry
from blockyard.core.claims import keeps
from blockyard.core.spec import Spec, block, channel, depth, head, mixer, residual, stem
from blockyard.core.spec import model as model_spec
from blockyard.decode.program import refusal
from blockyard.transform.take import take

KINDS = {name: entry.load_named() for name, entry in registry.entries("residual").items()}
RULES = [name for name, made in KINDS.items() if not made.around]  # others are of a window, and not of tokens
GOING_ON = [name for name, made in KINDS.items() if keeps(made.claims, made.known, "streams")]
SMALL = {"dense_former": dict(every=1), "depth_read": dict(states=3)}  # so that three steps show it
WIDENS = ("append",)  # the stream: such a block runs once, and no table is tied to it
F64 = torch.float64


def shaken(made, seed=1):
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in made.parameters():
            p += 0.3 * torch.randn(p.shape, generator=draw, dtype=F64).to(p.dtype)
    return made


def built(rule, layers=2, parts=None, plan=None, dim=16, **settings):
    """A small model in double precision, fresh."""
    rule = residual(rule, **settings) if isinstance(rule, str) else rule
    parts = parts or (mixer("attention", heads=2), channel("gated", inner=24))
    return by.build(model_spec(
        dim=dim, stem=stem("tokens", vocab=32), blocks=(block("layer", *parts),), residual=rule,
        depth=plan or depth("stack", layers=layers), head=head("lm", tied=rule.name not in WIDENS),
    )).double()  # fmt: skip


def rows(shape=(2, 9), seed=0):
    return torch.randint(0, 32, shape, generator=torch.Generator().manual_seed(seed))


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def gap(a, b):
    assert a.shape == b.shape and a.isfinite().all()
    return float((a - b).abs().max() / b.abs().max().clamp(min=1))


def rule_of(name, steps=1, **settings):
    """The rules of so many steps, every number moved, and the call of the tests' x."""
    made = shaken(built(name, steps, parts=(mixer("identity"),), **settings))
    return [step.rule for step in made.steps], Call.plain(normal(2, 5, 16))


def same(made, other):
    """Whether two models say the same, whose common numbers are made the same first."""
    held = made.state_dict()
    other.load_state_dict({**other.state_dict(), **{k: v for k, v in held.items() if k in other.state_dict()}})
    return torch.equal(made(rows()).logits, other(rows()).logits)


@torch.no_grad()
@pytest.mark.parametrize("name", GOING_ON)
def test_every_rule_streams_and_keeps_rows_packed_and_padded_ones_too(name):
    made, x = shaken(built(name, **SMALL.get(name, {}))), rows()
    whole = made(x).logits
    state, found = made.init_state(2), []
    for piece in x.split([4, 1, 4], 1):
        out = made(piece, state)
        state = out.state
        found.append(out.logits)
    assert gap(torch.cat(found, 1), whole) < 1e-10
    segment = torch.tensor([[0] * 4 + [1] * 5] * 2)
    assert gap(made(by.Batch(x, segment=segment)).logits[:, 4:], made(x[:, 4:]).logits) < 1e-10
    valid = torch.arange(9).expand(2, 9) >= 3
    assert gap(made(by.Batch(x, valid=valid)).logits[:, 3:], made(x[:, 3:]).logits) < 1e-10


@pytest.mark.parametrize("name", RULES)
def test_every_rule_has_the_same_gradients_recomputed(name):
    made, x, found = shaken(built(name, **SMALL.get(name, {}))), rows(), []
    for again in (False, True):
        made.recompute = again
        loss = torch.nn.functional.cross_entropy(made(x).logits.flatten(0, 1), x.flatten())
        found.append(torch.autograd.grad(loss, list(made.parameters()), materialize_grads=True, allow_unused=True))
    assert all(torch.equal(a, b) for a, b in zip(*found))
    silent = [key for (key, p), g in zip(made.named_parameters(), found[0]) if not g.any()]
    assert silent in ([], ["steps.0.rule.q.weight"]) or name == "replace"  # the first step has one state to choose from


@torch.no_grad()
@pytest.mark.parametrize("name", RULES)
def test_every_rule_turns_with_the_channels_of_its_stream(name):
    """Axes say where channels stand: the model with its channels in another order is the model."""
    made = shaken(built(name, **SMALL.get(name, {})))
    order = torch.randperm(16, generator=torch.Generator().manual_seed(3))
    turned, _ = take(made, "stream", order)
    assert gap(turned(rows()).logits, made(rows()).logits) < 1e-10
    assert take(made, "stream", range(8))[0](rows()).logits.isfinite().all()


@torch.no_grad()
@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("plan", [depth("shared", loops=2), depth("halting", loops=2)], ids=lambda p: p.name)
def test_every_rule_loops_and_halts(name, plan):
    if name in WIDENS:
        with pytest.raises(by.UsageError, match="makes the stream wider, and its block runs 2 times"):
            built(name, plan=plan)
        return
    made = shaken(built(name, plan=plan, **SMALL.get(name, {})))
    said = made(rows()).logits
    assert said.isfinite().all() and gap(made(rows()[:1]).logits, said[:1]) < 1e-10


@pytest.mark.parametrize("name", GOING_ON)
def test_every_rule_decodes_as_recorded_instructions_without_a_warning(name):
    made = built(name, dim=64, **SMALL.get(name, {})).float()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert refusal(made) is None


FRESH = {  # what is pre-norm before it learns, or with one number set
    "scaled": (dict(start=1.0), {}),
    "scaled_by": (dict(power=0.0, norm="rms"), {}),
    "rezero": (dict(norm="rms"), {"strength": 1.0}),
    "dense_former": ({}, {}),
    "depth_read": ({}, {}),
    "hyper_connections": ({}, {}),
    "dynamic_hyper_connections": ({}, {}),
    "parallel": (dict(every=1), {}),
}  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize("name", FRESH)
def test_a_fresh_rule_is_pre_norm_exactly(name):
    settings, numbers = FRESH[name]
    made = built(name, 3, **settings)
    for key, p in made.named_parameters():
        for ending, value in numbers.items():
            if key.endswith(f"rule.{ending}"):
                p.fill_(value)
    plain = built("prenorm", 3)
    assert same(made, plain) and not torch.equal(shaken(made)(rows()).logits, plain(rows()).logits)


@torch.no_grad()
def test_a_gate_is_the_recurrent_unit_of_the_framework():
    """Where U_h is diagonal, so that it does not matter whether the reset stands before or behind it."""
    (rule,), call = rule_of("gated")
    x, y = normal(2, 5, 16), normal(2, 5, 16, seed=1)
    rule.kept.weight.copy_(torch.diag(normal(16, seed=2)))
    cell = torch.nn.GRUCell(16, 16).double()
    (w_r, w_z, w_h), (u_r, u_z) = rule.written.weight.chunk(3), rule.old.weight.chunk(2)
    cell.weight_ih.copy_(torch.cat([w_r, -w_z, w_h]))  # theirs keeps by z what ours lets in
    cell.weight_hh.copy_(torch.cat([u_r, -u_z, rule.kept.weight]))
    cell.bias_ih.zero_()
    cell.bias_hh.zero_()
    cell.bias_ih[16:32] = rule.shut
    want = cell(y.relu().flatten(0, 1), x.flatten(0, 1)).view_as(x)
    assert gap(rule.write(x, y, call), want) < 1e-9
    rule.kept.weight.copy_(normal(16, 16, seed=2))
    r = torch.sigmoid(y.relu() @ w_r.T + x @ u_r.T)
    z = torch.sigmoid(y.relu() @ w_z.T + x @ u_z.T - rule.shut)
    h = torch.tanh(y.relu() @ w_h.T + (r * x) @ rule.kept.weight.T)
    assert gap(rule.write(x, y, call), (1 - z) * x + z * h) < 1e-9 and gap(rule.write(x, y, call), want) > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("name", ["gated", "highway"])
def test_a_gate_that_is_shut_or_open(name):
    (rule,), call = rule_of(name)
    fresh = built(name).steps[0].rule
    assert fresh.shut.eq(2.0).all()
    x, y = normal(2, 5, 16), normal(2, 5, 16, seed=1)
    rule.shut.fill_(1e6)
    assert torch.equal(rule.write(x, y, call), x)
    rule.shut.fill_(-1e6)
    if name == "highway":
        assert gap(rule.write(x, y, call), y) < 1e-12
    else:
        assert rule.write(x, y, call).abs().max() <= 1  # nothing but a tanh
    assert gap(rule.read(x, ("x",), call), rule.norm(x, call)) == 0


@torch.no_grad()
def test_a_highway_by_its_equation():
    (rule,), call = rule_of("highway")
    x, y = normal(2, 5, 16), normal(2, 5, 16, seed=1)
    t = torch.sigmoid(rule.norm(x) @ rule.gate.weight.T - rule.shut)
    assert gap(rule.write(x, y, call), (1 - t) * x + t * y) < 1e-12


@torch.no_grad()
@pytest.mark.parametrize("parts", [2, 3])
def test_sublayers_of_a_layer_read_the_same_stream(parts):
    chosen = (mixer("attention", heads=2), channel("gated", inner=24), channel("mlp"))[:parts]
    made, x = shaken(built("parallel", 2, parts=chosen, every=parts)), rows()
    flow = made.start(x)
    h = flow.x
    for layer in range(2):
        steps = made.steps[parts * layer : parts * (layer + 1)]
        h = h + sum(step.part(step.rule.norm(h), flow.call, None)[0] for step in steps)
        flow = made.run(flow, range(parts * layer, parts * (layer + 1)))
        assert gap(flow.x, h) < 1e-12
    half = made.run(made.start(x), [0])  # what has been added so far
    first = made.start(x).x
    assert gap(half.x, first + made.steps[0].part(made.steps[0].rule.norm(first), half.call, None)[0]) < 1e-12


@torch.no_grad()
def test_deep_norm_counts_its_stream_for_more():
    rules, call = rule_of("deepnorm", 16)
    x, y = normal(2, 5, 16), normal(2, 5, 16, seed=1)
    assert gap(rules[3].write(x, y, call), rules[3].norm(2.0 * x + y)) < 1e-12
    (one,), _ = rule_of("deepnorm")
    post, _ = rule_of("postnorm")
    post[0].load_state_dict({k: v for k, v in one.state_dict().items() if k != "strength"})
    assert gap(one.write(x, y, call), post[0].write(x, y, call)) < 1e-12


@torch.no_grad()
def test_what_lies_along_the_stream_is_not_added():
    (rule,), call = rule_of("orthogonal")
    x, y = normal(2, 5, 16), normal(2, 5, 16, seed=1)
    added = rule.write(x, y, call) - x
    assert (added * x).sum(-1).abs().max() < 1e-9 and added.abs().max() > 0.1
    assert gap(rule.write(x, y + 3 * x, call), x + added) < 1e-9
    assert gap(rule.write(x, -2 * x, call), x) < 1e-9 and torch.equal(rule.write(0 * x, y, call), y)


@torch.no_grad()
def test_what_is_orthogonal_is_so_elsewhere():
    theirs = pytest.importorskip("x_transformers.x_transformers").OrthogonalResidualUpdate(16).double()
    (rule,), call = rule_of("orthogonal")
    x, y = normal(2, 5, 16), normal(2, 5, 16, seed=1)
    want = theirs(y.flatten(0, 1)[:, None], x.flatten(0, 1)[:, None])  # a token a row: theirs projects whole rows
    assert gap(rule.write(x, y, call), want.view_as(x)) < 1e-6


def test_replacing_is_nothing_but_the_sublayer():
    (rule,), call = rule_of("replace")
    x, y = normal(2, 5, 16), normal(2, 5, 16, seed=1)
    assert rule.read(x, ("x",), call) is x and rule.write(x, y, call) is y and rule.flush(y, call) is y


def matrices(rule, h):
    """a (B,T,n), A (B,T,n,n), b (B,T,n) of streams h (B,T,n,D)."""
    a, mix, b = rule.reads, rule.mixes, rule.writes
    if rule.spec.name == "hyper_connections":
        a, mix, b = (each.expand(*h.shape[:2], *each.shape) for each in (a, mix, b))
    else:
        g = rule.each(h)
        a = a + rule.reads_scale * torch.tanh(g @ rule.reads_by)
        mix = mix + rule.reads_scale * torch.tanh(torch.einsum("btjd,id->btij", g, rule.mixes_by))
        b = b + rule.writes_scale * torch.tanh(g @ rule.writes_by)
    return a, mix, b


@torch.no_grad()
@pytest.mark.parametrize("name", ["hyper_connections", "dynamic_hyper_connections"])
def test_streams_mix_by_their_matrices(name):
    rules, call = rule_of(name, 3, streams=3)
    h, y = normal(2, 5, 3, 16), normal(2, 5, 16, seed=1)
    for rule in rules:
        a, mix, b = matrices(rule, h)
        carry = h.unbind(2)
        assert gap(rule.read(carry, ("x",), call), rule.norm(torch.einsum("btj,btjd->btd", a, h))) < 1e-12
        want = torch.einsum("btij,btjd->btid", mix, h) + b[..., None] * y[:, :, None]
        assert gap(torch.stack(rule.write(carry, y, call), 2), want) < 1e-12
        assert gap(rule.flush(carry, call), h.mean(2)) < 1e-12
    fresh = [step.rule for step in built(name, 2, streams=3).steps]
    assert [int(rule.reads.argmax()) for rule in fresh] == [0, 1, 2, 0] and fresh[0].reads.sum() == 1


@torch.no_grad()
@pytest.mark.parametrize("name", ["hyper_connections", "dynamic_hyper_connections"])
def test_it_does_not_matter_which_stream_is_which(name):
    made, order = shaken(built(name, streams=3)), torch.tensor([2, 0, 1])
    before = made(rows()).logits
    for step in made.steps:
        rule = step.rule
        rule.reads.copy_(rule.reads[order])
        rule.writes.copy_(rule.writes[order])
        rule.mixes.copy_(rule.mixes[order][:, order])
        if name == "dynamic_hyper_connections":
            rule.mixes_by.copy_(rule.mixes_by[order])
    assert gap(made(rows()).logits, before) < 1e-12


@torch.no_grad()
def test_tokens_that_decide_nothing_leave_the_fixed_streams():
    dynamic, static = shaken(built("dynamic_hyper_connections")), built("hyper_connections")
    for key, p in dynamic.named_parameters():
        if key.endswith("_by"):
            p.zero_()
    assert same(dynamic, static)
    for key, p in dynamic.named_parameters():
        if key.endswith("_by"):
            p.fill_(0.3)
    assert not same(dynamic, static)


@torch.no_grad()
def test_what_tokens_decide_can_be_seen_and_replaced():
    made, x = shaken(built("dynamic_hyper_connections", streams=3)), rows()
    seen = made(x, points={"*.rule:reads": "read", "*.rule:writes": "read"})
    assert len(seen.captures) == 8 and {tuple(v.shape) for v in seen.captures.values()} == {(2, 9, 3)}
    assert gap(seen.logits, made(x).logits) < 1e-12
    silent = made(x, points={"*.rule:writes": torch.zeros_like})
    assert gap(silent.logits, seen.logits) > 1e-3


def test_what_stands_where_nothing_is_said():
    """Four streams, of which one step after the other reads the next; two sublayers of a layer."""
    for name in ("hyper_connections", "dynamic_hyper_connections"):
        rules = [step.rule for step in built(name, 3).steps]
        assert torch.equal(torch.stack([rule.reads for rule in rules]), torch.eye(4, dtype=F64)[[0, 1, 2, 3, 0, 1]])
        assert all(
            torch.equal(rule.mixes, torch.eye(4, dtype=F64)) and rule.writes.tolist() == [1] * 4 for rule in rules
        )
    for rule in rules:
        assert [s.item() for s in (rule.reads_scale, rule.writes_scale)] == pytest.approx([0.01, 0.01])
        assert not any(p.any() for p in (rule.reads_by, rule.mixes_by, rule.writes_by))
    assert [step.rule.last for step in built("parallel", 2).steps] == [False, True] * 2
    assert built("orthogonal", 1).steps[0].rule.eps == 1e-12


def test_names_of_the_same_idea_lead_to_one_rule():
    """A norm before and behind a sublayer, which one paper calls a sandwich, is the peri rule."""
    assert "sandwich" in registry.find("residual", "peri").header["Source"]
    assert len(RULES) >= 14 and Spec("residual", "peri").kind == "residual"


@torch.no_grad()
def test_a_multiple_of_what_sublayers_write_is_added():
    """The same as that of sublayers whose last matrix is so many times as large."""
    one, other = built("multiplied", factor=0.22), built("prenorm")
    for (name, p), q in zip(one.named_parameters(), other.parameters()):
        q.copy_(p * 0.22 if name.endswith(("out.weight", "down.weight")) else p)
    tokens = torch.arange(24).view(2, 12)
    assert (one(tokens).logits - other(tokens).logits).abs().max() < 1e-12
    assert (one(tokens).logits - built("prenorm")(tokens).logits).abs().max() > 1e-3
