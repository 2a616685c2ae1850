"""Which tokens attention reads, and what weights become of scores: their laws, and the names they had before."""

from types import SimpleNamespace

import pytest
import torch

import blockyard as by
from blockyard.core import Call, Spec
from blockyard.core.spec import mixer, pattern, weigh


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def attention(seed=1, **settings):
    return by.make("mixer:attention", dim=16, heads=4, seed=seed, **settings).double()


def test_the_old_settings_are_those_of_the_slots():
    x = normal(2, 11, 16)
    with pytest.warns(UserWarning, match="pattern=band with pattern.window"):
        old = attention(window=3, sinks=2, scale=0.3)
    new = attention(pattern=pattern("band", window=3, sinks=2), weigh=weigh("softmax", scale=0.3))
    assert old.spec == new.spec and torch.equal(old(x)[0], new(x)[0])
    assert attention(window=None).spec == attention().spec
    said = by.spec("llama", "tiny", **{"mixer.window": 5, "mixer.sinks": 1})
    assert said == by.spec("llama", "tiny", **{"mixer.pattern": pattern("band", window=5, sinks=1)})
    with pytest.raises(by.UsageError, match="pattern=random_blocks has no window; pattern=band has"):
        attention(pattern="random_blocks", window=3)


def test_a_spec_of_before_is_built():
    before = dict(kind="mixer", name="attention", settings=dict(heads=2, window=3, sinks=1))
    spec = by.spec("llama", "tiny").map(lambda s: Spec.from_json(before) if s.kind == "mixer" else s)
    now = mixer("attention", heads=2, pattern=pattern("band", window=3, sinks=1))
    tokens = torch.arange(12)[None]
    same = by.spec("llama", "tiny").map(lambda s: now if s.kind == "mixer" else s)
    assert torch.equal(by.build(spec)(tokens).logits, by.build(same)(tokens).logits)


def kept(part, call):
    return part.leaves(call.positions, call.positions, call)[0]


def training(length, tick=0, seed=0):
    return Call.plain(torch.empty(1, length, 4))._replace(tick=tick, seed=seed)


@torch.no_grad()
def test_blocks_without_a_fall_are_dense_attention():
    x = normal(2, 13, 16)
    dense, blocks = attention(), attention(pattern=pattern("random_blocks", size=3, fall=0.0))
    assert torch.allclose(blocks(x)[0], dense(x)[0], atol=1e-12)


@pytest.mark.parametrize("settings", [dict(fall=1.0), dict(fall=3.0, floor=0.25)], ids=str)
def test_as_many_blocks_are_read_as_their_chances_say(settings):
    part, size = by.make("pattern:random_blocks", dim=4, size=2, **settings), 120
    found = torch.stack([kept(part, training(2 * size, tick))[::2, ::2] for tick in range(4)]).double()
    rows = torch.arange(size)
    apart = (rows[:, None] - rows).abs()
    chance = ((1.0 + apart) ** -settings["fall"]).clamp(min=settings.get("floor", 0.0))
    chance[apart == 0] = 1.0
    assert bool(found[:, rows, rows].all()), "a block does not read itself"
    spread = (4 * chance * (1 - chance)).sum().sqrt()
    assert abs(found.sum() - 4 * chance.sum()) < 3 * spread
    for distance in (1, 4):
        here = found[:, apart == distance]
        share = chance[apart == distance][0]
        assert abs(here.mean() - share) < 4 * (share * (1 - share) / here.numel()) ** 0.5


def test_the_same_moment_reads_the_same_blocks():
    part = by.make("pattern:random_blocks", dim=4, size=2)
    first, again, other = (kept(part, training(40, *moment)) for moment in ((3, 1), (3, 1), (4, 1)))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert not torch.equal(first, kept(part, training(40, 3, seed=2)))
    assert torch.equal(kept(part, training(60, 3, seed=1))[:40, :40], first), "a longer text reads other blocks"
    asleep = Call.plain(torch.empty(1, 40, 4))
    assert torch.equal(kept(part, asleep), kept(part, asleep._replace(step=3, loop=1)))
    twins = by.build(by.spec("llama", "tiny", layers=2, **{"mixer.pattern": "random_blocks"})).steps
    keys = {step.part.pattern.key for step in twins if hasattr(step.part, "pattern")}
    assert len(keys) == 2, "layers draw the same blocks"


def test_no_two_pairs_of_blocks_share_a_draw():
    """However far apart they lie."""
    part, seen = by.make("pattern:random_blocks", dim=4, size=1), []
    call = SimpleNamespace(
        uniform_at=lambda path, which: seen.append(which) or torch.ones_like(which, dtype=torch.float)
    )
    at = torch.cat([torch.arange(80), torch.tensor([2**20, 2**20 + 1])])[None]
    part.leaves(at, at, call)
    assert seen[0].unique().numel() == 82**2


@torch.no_grad()
def test_weights_follow_their_equations():
    scores = 3 * normal(1, 2, 5, 5)
    scores[0, :, 0, 1:] = float("-inf")
    soft, bent, off = (by.make(f"weigh:{name}", dim=4) for name in ("softmax", "softcap", "off_by_one"))
    bent.cap = 2.0
    assert torch.allclose(soft(scores), scores.softmax(-1))
    assert torch.allclose(bent(scores), (2 * (scores / 2).tanh()).masked_fill(scores.isinf(), -torch.inf).softmax(-1))
    assert torch.allclose(off(scores), scores.exp() / (1 + scores.exp().sum(-1, keepdim=True)))
    bent.cap = 1e9
    assert torch.allclose(bent(scores), soft(scores), atol=1e-8)
    assert torch.equal(soft(scores)[0, :, 0, 1:], torch.zeros(2, 4, dtype=torch.float64))
    assert not bool(off(torch.full((1, 1, 1, 3), -torch.inf)).any())


@torch.no_grad()
def test_what_stands_where_nothing_is_said():
    """A band of all; blocks of 32, a chance that falls with the root of the distance; scores to 50; positions to 64."""
    blocks, band = by.make("pattern:random_blocks", dim=4), by.make("pattern:band", dim=4)
    assert (band.window, band.sinks) == (None, 0)
    assert blocks.size == 32 and blocks.floor == 0
    assert blocks.chance(torch.tensor([0.0, 3.0, -8.0])).tolist() == pytest.approx([1, 1 / 2, 1 / 3])
    weights = by.make("weigh:softcap", dim=4)(torch.tensor([[[[1e6, 0.0]]]], dtype=torch.float64))
    assert float((weights[..., 0] / weights[..., 1]).log()) == pytest.approx(50)
    assert by.make("position:cope", dim=4).table.shape == (65, 4)


@torch.no_grad()
@pytest.mark.parametrize("name", ["softmax", "softcap", "off_by_one"])
def test_all_weights_stand_in_attention(name):
    """What is read at the points inside is what the output is made of."""
    x, part = normal(1, 7, 16), attention(weigh=name)
    call = Call.plain(x)._replace(points={("part", key): "read" for key in ("weights", "v", "context", "scores")})
    part(x, call)
    found = {key: call.captures[0, 0, "part", key] for key in ("weights", "v", "context", "scores")}
    assert torch.allclose(found["weights"], part.weigh(found["scores"]))
    mixed = torch.einsum("bhts,bshv->bthv", found["weights"], found["v"]).flatten(2)
    assert torch.allclose(mixed, found["context"])
    assert (attention(weigh=weigh(name, scale=2.0))(x)[0] - part(x)[0]).abs().max() > 1e-3


@torch.no_grad()
def test_a_short_convolution_of_queries_keys_and_values():
    """In pieces as at once; with taps that pass the own token on it is not there."""
    x = normal(2, 9, 16)
    conv = mixer("short_conv", width=3, activation=None)
    part, plain = attention(conv=conv, kv_heads=2), attention(kv_heads=2)
    whole = part(x)[0]
    assert (whole - plain(x)[0]).abs().max() > 1e-3
    part.conv.weight.copy_(torch.tensor([0.0, 0.0, 1.0]).expand_as(part.conv.weight))
    assert torch.allclose(part(x)[0], plain(x)[0], atol=1e-12)


@torch.no_grad()
def test_contextual_positions_follow_their_equations():
    """Every pair by itself; with gates that are all open the position is the distance."""
    q, scores = normal(1, 6, 2, 4), normal(1, 2, 6, 6, seed=1)
    scores = scores.masked_fill(~torch.ones(6, 6, dtype=torch.bool).tril(), -torch.inf)
    part = by.make("position:cope", dim=4, most=3).double()
    assert torch.equal(part.at_scores(scores, q, None, None), scores), "a table of zeros changes nothing"
    part.table.copy_(normal(4, 4, seed=2))
    found = part.at_scores(scores, q, None, None)
    for h in range(2):
        for i in range(6):
            for j in range(i + 1):
                p = min(float(scores[0, h, i, j : i + 1].sigmoid().sum()), 3.0)
                low, high = part.table[int(p)], part.table[min(int(p) + 1, 3)]
                want = scores[0, h, i, j] + q[0, i, h] @ (low + (p - int(p)) * (high - low))
                assert torch.allclose(found[0, h, i, j], want)
    wide = scores.masked_fill(~scores.isinf(), 40.0)
    apart = (torch.arange(6)[:, None] - torch.arange(6) + 1).clamp(0, 3)
    bias = torch.einsum("bthk,tsk->bhts", q, part.table[apart])
    seen = ~scores.isinf()
    assert torch.allclose(part.at_scores(wide, q, None, None)[seen], (wide + bias)[seen], atol=1e-9)
    assert bool(part.at_scores(wide, q, None, None)[~seen].isinf().all())


def test_gates_of_contextual_positions_learn():
    model = by.build("llama", "tiny", **{"mixer.position": "cope"})
    with torch.no_grad():
        for step in model.steps:
            if hasattr(step.part, "position"):
                step.part.position.table.normal_(generator=torch.Generator().manual_seed(0))
    model(torch.arange(12)[None]).logits.square().mean().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())
    assert model.steps[0].part.position.table.grad.abs().max() > 0
