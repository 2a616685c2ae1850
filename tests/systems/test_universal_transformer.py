"""What must hold of a shared block that halts and of the signal that tells it its loop."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from system_cases import decode, gap, model, shake, tokens

import blockyard as by
from blockyard.core import Spec
from blockyard.core.call import Moment
from blockyard.core.spec import depth, position
from blockyard.train.loop import Settings, train
from blockyard.transform.take import take

SIZE = dict(dim=16, heads=2, ffn=24, vocab=32, loops=4)
X = tokens(2, 11, 32)


def built(**settings):
    """A model whose tokens halt after one, two, three or four loops."""
    made = model("universal_transformer", **SIZE, **settings)
    with torch.no_grad():
        made.depth.w.mul_(4)
        one = by.build("universal_transformer", **SIZE | dict(loops=1)).double()
        one.load_state_dict(made.state_dict())
        made.depth.b.copy_(-(one(X).hidden @ made.depth.w).mean() - 0.5)
    return made


def weights(made, x=X):
    out = made(x, points={"depth:weight": "read"})
    return torch.stack([u for (_, _, _, name), u in sorted(out.captures.items()) if name == "weight"])


def with_depth(program):
    return by.spec("universal_transformer", **SIZE).map(lambda s: program if s.kind == "depth" else s)


@pytest.mark.parametrize("signal", [None, "step_signal"])
def test_without_halting_it_is_as_many_untied_copies(signal):
    """(1) equal outputs, and the shared gradient is the sum of the copies'."""
    told = None if signal is None else position(signal)
    shared = shake(by.build(with_depth(depth("shared", loops=3, signal=told))).double())
    untied = by.build(with_depth(depth("stack", layers=3))).double()
    own = shared.state_dict()
    places = {n: f"steps.{int(n.split('.')[1]) % 2}.{n.split('.', 2)[2]}" for n in untied.state_dict() if "steps" in n}
    untied.load_state_dict({n: own[places.get(n, n)] for n in untied.state_dict()})
    flow = untied.start(X)
    for loop in range(3):
        if signal:
            flow = flow._replace(carry=shared.depth.signal.at_input(flow.x, flow.call._replace(loop=loop)), rule=None)
        flow = untied.run(flow, [2 * loop, 2 * loop + 1])
    a, b = shared(X).logits, untied.finish(flow).logits
    assert gap(a, b) < 1e-12
    a.square().sum().backward()
    b.square().sum().backward()
    theirs = dict(untied.named_parameters())
    for name, p in shared.named_parameters():
        copies = [n for n, place in places.items() if place == name] or [name]
        assert gap(p.grad, sum(theirs[n].grad for n in copies)) < 1e-10


def test_weights_sum_to_one_and_loops_lie_in_their_range():
    """(2) for tokens that halt at different loops, the last one included."""
    u = weights(built())
    assert torch.allclose(u.sum(0), torch.ones(2, 11, dtype=u.dtype), atol=1e-12) and bool((u >= 0).all())
    assert {int(n) for n in (u > 0).sum(0).flatten()} >= {2, 3}
    slow = built()
    with torch.no_grad():
        slow.depth.w.zero_()
        slow.depth.b.fill_(-20.0)  # nothing halts before it must
    assert torch.allclose(weights(slow)[-1], torch.ones(2, 11, dtype=u.dtype), atol=1e-6)


@torch.no_grad()
def test_a_large_bias_is_one_loop():
    """(3) the output is the stream after one loop; parameters do not depend on how many there may be."""
    made = built()
    made.depth.b.fill_(50.0)
    one = shake(by.build("universal_transformer", **SIZE | dict(loops=1)).double())
    one.load_state_dict(made.state_dict())
    assert gap(made(X).logits, one(X).logits) < 1e-12 and weights(made)[0].min() == 1
    for signal in (position("step_signal"), None):
        halts, loops = (
            by.build(with_depth(depth(name, loops=1, signal=signal))).double() for name in ("halting", "shared")
        )
        for each in (halts, loops):
            each.load_state_dict({k: v for k, v in made.state_dict().items() if k in each.state_dict()})
        assert gap(halts(X).logits, loops(X).logits) < 1e-12


@torch.no_grad()
def test_a_token_halts_where_a_hundredth_is_missing_to_one():
    """(3) and what stands where nothing is said: four loops, a hundredth each, a start above even."""
    made = built()
    made.depth.w.zero_()
    for p, loops in ((0.4935, 3), (0.4955, 2)):
        made.depth.b.fill_(math.log(p / (1 - p)))
        assert bool(((weights(made) > 0).sum(0) == loops).all())
    fresh = by.build(with_depth(depth("halting"))).depth
    assert (fresh.loops, fresh.cost, fresh.eps, fresh.b.item()) == (4, 0.01, 0.01, 1.0)


@torch.no_grad()
def test_it_is_causal_and_streams_though_others_go_on():
    """(4) later tokens change nothing before them; pieces are the whole."""
    made = built()
    other = X.clone()
    other[:, 6:] = (other[:, 6:] + 5) % 32
    a, b = made(X).logits, made(other).logits
    assert gap(a[:, :6], b[:, :6]) < 1e-12 and gap(a[:, 6:], b[:, 6:]) > 1e-3
    assert not torch.equal(weights(made), weights(made, other))
    for sizes in (1, [4, 6, 1]):
        assert gap(decode(made, X, sizes)[0], a) < 1e-10


@torch.no_grad()
def test_a_row_does_not_depend_on_its_batch():
    """(5)"""
    made, x = built(), tokens(5, 11, 32, seed=3)
    assert gap(made(x[2:3]).logits, made(x).logits[2:3]) < 1e-12


@torch.no_grad()
def test_halted_tokens_stay_as_they_are():
    """What is said in the header: nothing is written to them, not even the signal."""
    made, seen = built(), []
    flow = made.start(X)

    def run(flow, step, loop, **request):
        everywhere = torch.ones_like(X, dtype=torch.bool)
        seen.append((everywhere if request["active"] is None else request["active"], flow.x))
        return made._run(flow, step, loop, **request)

    made.depth(flow._replace(call=flow.call._replace(captures={})), run)
    for (running, before), (_, after) in pairwise(seen):
        assert torch.equal(before[~running], after[~running])
    assert 0 < sum(int((~running).sum()) for running, _ in seen) < 8 * 22


def test_the_ponder_cost_is_counted_by_hand():
    """cost times the mean over tokens that count of loops and of what was missing at the halt; padding counts not."""
    made = built(cost=0.5)
    valid = torch.ones(2, 11, dtype=torch.bool)
    valid[1, 7:] = False
    with made.training_at(Moment(0, 0)) as watch:
        u = weights(made, by.Batch(X, valid=valid))
    loops = (u > 0).sum(0)
    missing = u.gather(0, loops[None] - 1)[0]
    assert torch.allclose(watch.penalty(), 0.5 * (loops + missing)[valid].mean())
    made(X)
    assert watch.penalty() is None


def test_the_signal_is_a_wave_of_place_and_loop():
    part = by.make("position:step_signal", dim=6)
    call, _ = by.Batch(X[:1, :3]).call(None, causal=True)
    for loop in (0, 2):
        found = part.at_input(torch.zeros(1, 3, 6), call._replace(loop=loop))[0]
        for t in range(3):
            for i in range(3):
                w = 10000 ** (-2 * i / 6)
                assert found[t, i] == pytest.approx(math.sin(t * w) + math.sin((loop + 1) * w), abs=1e-6)
                assert found[t, 3 + i] == pytest.approx(math.cos(t * w) + math.cos((loop + 1) * w), abs=1e-6)


def test_a_signal_needs_pairs_of_channels_in_their_order():
    with pytest.raises(by.UsageError, match="not 5"):
        by.make("position:step_signal", dim=5)
    made = by.build(with_depth(depth("shared", loops=3, signal=position("step_signal"))))
    assert made.axes["stream"].ordered
    with pytest.raises(by.UsageError, match="must stay a multiple of 2"):
        take(made, "stream", range(15))


class Noise:
    def next(self, step):
        return np.random.default_rng(step).integers(0, 32, (4, 9))


def test_a_dear_loop_is_left_sooner():
    bias = []
    for cost in (0.0, 2.0):
        system = by.spec("universal_transformer", **SIZE, cost=cost)
        made = by.build(system)
        train(system, made, Noise(), Settings(steps=6, lr=1e-2))
        bias.append(made.depth.b.item())
    assert bias[1] > bias[0] + 0.005


@torch.no_grad()
def test_it_decodes_as_it_trains():
    made = by.build("universal_transformer", **SIZE)
    steps = [int(step.tokens[0]) for step in by.generate(made, X[:1], 5, by.SamplingParams(temperature=0))]
    row = X[:1]
    for token in steps:
        assert int(made(row).logits[0, -1].argmax()) == token
        row = torch.cat([row, torch.tensor([[token]])], 1)


@pytest.mark.slow
@torch.no_grad()
def test_the_shared_stack_is_albert_s():
    """Oracle: one group of layers, both ways, halting off."""
    transformers = pytest.importorskip("transformers")
    size = dict(hidden_size=16, num_attention_heads=2, intermediate_size=24, num_hidden_layers=3, inner_group_num=1)
    config = transformers.AlbertConfig(
        vocab_size=32, embedding_size=16, hidden_act="relu", hidden_dropout_prob=0.0, layer_norm_eps=1e-5,
        attention_probs_dropout_prob=0.0, attn_implementation="eager", **size,
    )  # fmt: skip
    theirs = transformers.AlbertModel(config).double().eval().encoder
    spec = with_depth(depth("shared", loops=3))["model"].but(causal=False)
    mine = shake(by.build(spec).double())
    theirs.embedding_hidden_mapping_in.weight.copy_(torch.eye(16))
    theirs.embedding_hidden_mapping_in.bias.zero_()
    layer = theirs.albert_layer_groups[0].albert_layers[0]
    (attention, first), (channel, second) = ((step.part, step.rule.norm) for step in mine.steps)
    q, k, v = attention.qkv.weight.split(16)
    for theirs_linear, weight, bias in zip(
        (layer.attention.query, layer.attention.key, layer.attention.value), (q, k, v), attention.qkv.bias.split(16)
    ):
        theirs_linear.weight.copy_(weight)
        theirs_linear.bias.copy_(bias)
    for theirs_linear, own in (
        (layer.attention.dense, attention.out),
        (layer.ffn, channel.up),
        (layer.ffn_output, channel.down),
    ):
        theirs_linear.weight.copy_(own.weight)
        theirs_linear.bias.copy_(own.bias)
    for theirs_norm, own in ((layer.attention.LayerNorm, first), (layer.full_layer_layer_norm, second)):
        theirs_norm.weight.copy_(own.gain)
        theirs_norm.bias.copy_(own.bias)
    flow = mine.start(X)
    assert gap(mine.run(flow).x, theirs(flow.x)[0]) < 1e-10


def test_halting_asks_for_one_block():
    two = by.spec("universal_transformer", **SIZE)["model"]
    other = Spec.of("block", "other", dict(two["blocks"][0].settings))
    with pytest.raises(by.UsageError, match="one block"):
        by.build(two.but(blocks=(*two["blocks"], other)))
