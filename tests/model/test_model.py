"""The body: streaming, padding, packing, partial runs, notes and recomputation, for every recipe that promises them."""

import copy
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

import blockyard as by
from blockyard.core.errors import UsageError
from tests.asked import batch, gap, piece, promising, silent
from tests.cover import each

RECIPES = by.recipes()


def tiny(name, **overrides):
    model = by.build(name, "tiny", **overrides).double()
    draw = torch.Generator().manual_seed(5)
    for p in model.parameters():
        p.data += 0.02 * torch.randn(p.shape, generator=draw, dtype=p.dtype)
    return model


def ids(rows=2, length=20, seed=0):
    return torch.randint(0, 256, (rows, length), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
@pytest.mark.parametrize("name", promising("streams"))
def test_pieces_equal_the_whole(name):
    model = tiny(name)
    x = batch(model)
    whole = model(x).prediction
    for ends in ([7, 8, 20], range(1, 21)):
        state, parts = model.init_state(2), []
        for first, last in pairwise([0, *ends]):
            out = model(piece(x, first, last), state)
            state = out.state
            parts.append(out.prediction)
        for said, value in whole.items():
            assert (torch.cat([part[said] for part in parts], 1) - value).abs().max() < 1e-9
        assert state.length.tolist() == [20, 20]


@pytest.mark.parametrize("name", silent("streams"))
def test_a_state_is_refused_where_none_is_promised(name):
    model = by.build(name, "tiny")
    with pytest.raises(UsageError, match="a state needs a model that goes on from a state"):
        model(batch(model), model.init_state(2))


@pytest.mark.parametrize("name", silent("packs"))
def test_a_packed_batch_is_refused_where_none_is_promised(name):
    model = by.build(name, "tiny")
    whole = batch(model)
    with pytest.raises(UsageError, match="a packed batch needs a model that keeps packed documents apart"):
        model(replace(whole, segment=torch.zeros(whole.tokens.shape[:2], dtype=torch.long)))


@torch.no_grad()
@pytest.mark.parametrize("name", promising("packs"))
def test_padding_and_packing_change_nothing(name):
    model = tiny(name)
    x = batch(model, 1).tokens

    def beside(whole, cut):
        alone = model(x[:, cut]).prediction
        return max(float((whole[said][:, cut] - value).abs().max()) for said, value in alone.items())

    packed = model(by.Batch(x, segment=torch.tensor([[0] * 7 + [1] * 13]))).prediction
    assert all(beside(packed, cut) < 1e-9 for cut in (slice(0, 7), slice(7, 20)))
    for cut in (slice(5, 20), slice(0, 15)):
        valid = torch.zeros(1, 20, dtype=torch.bool)
        valid[:, cut] = True
        assert beside(model(by.Batch(x, valid=valid)).prediction, cut) < 1e-9


@torch.no_grad()
@pytest.mark.parametrize("name", promising("streams"))
def test_rewinding_equals_never_having_gone(name):
    model = tiny(name)
    x = batch(model)
    state = model(piece(x, 0, 6), model.init_state(2)).state.mark()
    ahead = model(piece(x, 6, 20), state).state
    back = ahead.rewind(11)
    assert bool((back.length <= 11).all()) and bool((back.length >= 6).all())
    again = model(piece(x, int(back.length[0]), 20), back)
    assert gap(again, model(x), lambda said: said[:, -1]) < 1e-9
    chosen = back.select(torch.tensor([1, 1, 0]))
    assert chosen.length.shape == (3,)


@torch.no_grad()
def test_a_packed_batch_is_unpacked_for_a_state():
    model, x = tiny("olmo_hybrid"), ids(1, 12)
    batch = by.Batch(x, segment=torch.tensor([[0] * 5 + [1] * 7]))
    with pytest.raises(UsageError, match="unpacked"):
        model(batch, model.init_state(1))
    rows = batch.unpacked()
    out = model(rows, model.init_state(2))
    assert out.state.length.tolist() == [5, 7]
    assert (out.logits[0, :5] - model(x[:, :5]).logits).abs().max() < 1e-9
    more = model(ids(2, 3, 1), out.state).logits
    alone = model(torch.cat([x[:, :5], ids(2, 3, 1)[:1]], 1)).logits[:, -3:]
    assert (more[:1] - alone).abs().max() < 1e-9


@pytest.mark.parametrize("name", RECIPES)
def test_recomputation_gives_the_same_gradients_and_notes(name):
    found = []
    for recompute in (False, True):
        model = tiny(name)
        model.recompute = recompute
        x = batch(model, 2, 12)
        inside = any(part.points for part in model.parts() if part.path.startswith("steps."))
        out = model(x, points={"steps.*:*": "read"} if inside else None)
        torch.stack([said.square().mean() for said in out.prediction.values()]).sum().backward()
        found.append(([p.grad for p in model.parameters()], out.captures))
    (grads, notes), (again, same) = found
    assert notes.keys() == same.keys() and bool(notes) == inside
    assert all(torch.equal(notes[k], same[k]) for k in notes)
    assert all(a is b is None or torch.equal(a, b) for a, b in zip(grads, again)) and any(g is not None for g in grads)


@pytest.mark.parametrize("name", each(RECIPES, 1))
def test_the_whole_model_compiles(name):
    torch._dynamo.reset()
    model = by.build(name, "tiny")
    x = batch(model, 2, 16)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    assert gap(compiled(x), model(x)) < 1e-4


@torch.no_grad()
def test_a_flow_can_be_run_in_parts_and_again():
    model, x = tiny("mamba2_hybrid"), ids()
    whole = model(x)
    flow = model.start(x)
    half = model.run(flow, range(2))
    for _ in range(2):  # nothing of the first pass is left behind
        out = model.finish(model.run(half, range(2, len(model.steps))))
        assert torch.equal(out.logits, whole.logits)
    assert (half.x - flow.x).abs().max() > 0


@torch.no_grad()
def test_active_gates_what_is_written_and_tokens_what_runs():
    model, x = tiny("llama"), ids()
    flow = model.start(x)
    full = model.run(flow, [0]).x
    active = torch.rand(2, 20) < 0.5
    some = model._run(flow, 0, active=active).x
    assert torch.equal(some, torch.where(active[..., None], full, flow.x))
    index = torch.tensor([[0, 1, 2, 3, -1], [20, 21, 22, 23, 24]])
    part = model._run(flow, 0, tokens=index).x
    assert (part[0, :4] - full[0, :4]).abs().max() < 1e-9
    assert torch.equal(part[0, 4:], flow.x[0, 4:])
    assert (part[1, :5] - full[1, :5]).abs().max() < 1e-9


@torch.no_grad()
def test_order_says_who_sees_whom():
    model, x = tiny("llama"), ids(1, 8)
    causal = model(x).logits
    stored = torch.arange(8)[None]
    assert (model(by.Batch(x, order=stored)).logits - causal).abs().max() < 1e-9
    prefix = torch.tensor([[3, 3, 3, 3, 4, 5, 6, 7]])
    changed = x.clone()
    changed[0, 3] = (changed[0, 3] + 1) % 256
    a, b = (model(by.Batch(t, order=prefix)).logits for t in (x, changed))
    assert (a[:, 0] - b[:, 0]).abs().max() > 1e-6, "the prefix sees itself whole"
    everybody = model(by.Batch(x, order=0)).logits
    assert (everybody - model(by.Batch(x, order=torch.zeros(1, 8, dtype=torch.long))).logits).abs().max() < 1e-9
    assert (everybody[:, 0] - causal[:, 0]).abs().max() > 1e-6


def test_points_read_replace_and_name_what_is_unknown():
    model, x = tiny("gla"), ids()
    out = model(x, points={"steps.0.part:gate": "read"})
    (key,) = out.captures
    assert key == (0, 0, "steps.0.part", "gate")
    closed = model(x, points={"steps.*.part:gate": torch.zeros_like}).logits
    assert (closed - out.logits).abs().max() > 1e-6
    with pytest.raises(UsageError, match="steps"):
        model(x, points={"steps.0.part:gates": "read"})


def test_a_copy_is_independent_and_keeps_its_axes_and_ties():
    model = tiny("llama")
    twin = copy.deepcopy(model)
    assert twin.head.table is twin.stem.table and twin.head.table is not model.head.table
    axes = {id(a) for use in twin.uses for expr in use.axes for a in expr.leaves()}
    assert id(twin.axes["stream"]) in axes and id(model.axes["stream"]) not in axes


def test_sequences_are_drawn_by_key():
    call = by.build("llama", "tiny").start(ids()).call
    a = call.uniform("x", (1000,))
    assert torch.equal(a, call.uniform("x", (1000,)))
    assert not torch.equal(a, call.uniform("y", (1000,)))
    for other in ({"seed": 1}, {"tick": 0}, {"tick": 1}, {"tick": 1, "micro_batch": 4}, {"step": 1}, {"loop": 1}):
        b = call._replace(**other).uniform("x", (1000,))
        assert not torch.equal(a, b) and abs(torch.corrcoef(torch.stack([a, b]))[0, 1]) < 0.12
    ticks = [call._replace(tick=t).uniform("x", (1000,)) for t in (7, torch.tensor(7))]
    assert torch.equal(*ticks), "a compiled model draws what any other draws"
    assert a.min() >= 0 and a.max() < 1 and abs(a.mean() - 0.5) < 0.05


def test_a_model_claims_what_all_its_parts_claim(monkeypatch):
    model = by.build("olmo_hybrid", "tiny")
    assert model.claims == {
        "causal": True, "packs": True, "row_independent": True, "streams": True, "time_exponent": 2.0,
    }  # fmt: skip
    assert by.build("gla", "tiny").claims["time_exponent"] == 1.0
    mixer = type(model.steps[0].part)
    monkeypatch.setattr(mixer, "claims", {"causal": True})
    poor, tokens = by.build("olmo_hybrid", "tiny"), torch.zeros(1, 4, dtype=torch.long)
    assert poor.claims == {"causal": True, "time_exponent": 2.0}
    with pytest.raises(UsageError, match="stream"):
        poor(tokens, poor.init_state(1))
    with pytest.raises(UsageError, match="packed"):
        poor(by.Batch(tokens, segment=tokens))


@torch.no_grad()
def test_learned_positions_end_where_they_end():
    model = tiny("gpt2", length=12)
    inside = torch.ones(2, 16, dtype=torch.bool)
    inside[:, :5] = False  # 11 valid tokens in 16 slots
    assert torch.isfinite(model(by.Batch(ids(2, 16), valid=inside)).logits).all()
    inside[:, 3:] = True
    with pytest.raises(UsageError, match="13 tokens"):
        model(by.Batch(ids(2, 16), valid=inside))
    with pytest.raises(UsageError, match="16 tokens"):
        model(ids(2, 16))
