"""What must hold of a decoder with squared ReLU and convolved queries, keys and values."""

import pytest
import torch
from system_cases import gap, model, normal, part, tokens
from transformers.activations import ACT2FN

import blockyard as by
from blockyard.core import Call, Spec, State
from blockyard.core.spec import mixer
from blockyard.model.claims import verify

SIZE = dict(dim=16, heads=2, layers=2, vocab=32)
CONV = mixer("short_conv", width=3, activation=None)


@torch.no_grad()
def test_with_taps_of_the_own_token_alone_it_is_the_baseline():
    """(1) to the bit: taps 0, 0, 1 and ReLU."""
    ids = tokens(2, 12, 32)
    other = by.build("primer", **SIZE, own=1.0, **{"channel.activation": "relu"})
    plain = by.build("primer", **SIZE, **{"mixer.conv": None, "channel.activation": "relu"})
    assert torch.equal(other(ids).logits, plain(ids).logits)
    assert not torch.equal(by.build("primer", **SIZE, **{"channel.activation": "relu"})(ids).logits, plain(ids).logits)
    first = by.build("primer", **SIZE).steps[0].part.conv.weight
    assert torch.allclose(first, torch.tensor([0.5 / 3, 0.5 / 3, 0.5]).expand_as(first))


@pytest.mark.parametrize(
    "settings", [dict(), dict(kv_heads=1), dict(pattern=Spec.of("pattern", "band", dict(window=4)))]
)
def test_convolved_attention_keeps_attention_s_claims(settings):
    """(2) nothing before a token knows it; pieces of any size, ragged, packed and padded rows equal the whole."""

    def fresh():
        return part("mixer:attention", dim=16, heads=4, conv=CONV, **settings)

    assert [
        verdict for verdict in verify(fresh, ("bidirectional", "any_order", "time_exponent")) if not verdict.ok
    ] == []


@torch.no_grad()
def test_taps_are_those_of_a_grouped_convolution():
    """Oracle: queries, keys and values by the framework's convolution, zeros before the start."""
    made, x = part("mixer:attention", dim=16, heads=4, conv=CONV, position=None), normal(2, 9, 16)
    call = Call.plain(x)._replace(points={("part", name): "read" for name in "qkv"})
    made(x, call)
    given = made.qkv(x).transpose(1, 2)
    weight = made.conv.weight[:, None]
    padded = torch.nn.functional.pad(given, (2, 0))
    q, k, v = made.layout.split(torch.nn.functional.conv1d(padded, weight, groups=len(weight)).transpose(1, 2))
    for name, wanted in (("q", q.flatten(2, 3)), ("k", k), ("v", v)):
        assert gap(call.captures[0, 0, "part", name], wanted) < 1e-12


def test_the_square_is_homogeneous_and_smooth():
    """(3) f(a x) = a^2 f(x); no step in the gradient at 0; E[relu(z)^4] = 3/2 for a normal z; transformers' relu2."""
    channel, x = part("channel:mlp", dim=8, activation="squared_relu"), normal(2, 5, 8)
    assert gap(channel(3.0 * x)[0], 9.0 * channel(x)[0]) < 1e-12
    act = by.make("activation:squared_relu", dim=1)
    at = torch.tensor([-1e-6, 0.0, 1e-6], dtype=torch.float64, requires_grad=True)
    act(at).sum().backward()
    assert at.grad.abs().max() < 1e-5
    z = normal(400_000)
    assert abs(act(z).square().mean() - 1.5) < 0.05
    assert torch.equal(act(x), ACT2FN["relu2"](x))


def test_it_costs_nine_numbers_a_channel_of_a_head():
    """(4) taps of three tokens for queries, keys and values; fewer where keys are shared."""
    for kv_heads in (4, 1):
        convolved, plain = (
            by.make("mixer:attention", dim=16, heads=4, kv_heads=kv_heads, conv=conv) for conv in (CONV, None)
        )
        more = sum(p.numel() for p in convolved.parameters()) - sum(p.numel() for p in plain.parameters())
        assert more == 3 * (16 + 2 * kv_heads * 4)
    assert by.count(by.spec("primer", **SIZE), 8, 1).params - by.count(
        by.spec("primer", **SIZE, **{"mixer.conv": None}), 8, 1
    ).params == 2 * 9 * 16  # fmt: skip


@torch.no_grad()
def test_the_norm_of_the_whole_search_is_layer_norm():
    """(5) mean(x (x - mean)) is the variance."""
    x = normal(3, 7, 16)
    mean = x.mean(-1, keepdim=True)
    theirs = (x - mean) / ((x * (x - mean)).mean(-1, keepdim=True) + 1e-5).sqrt()
    assert gap(by.make("norm:layer", dim=16).double()(x), theirs) < 1e-10


@torch.no_grad()
def test_prefill_in_unequal_chunks_and_decoding():
    """(2) the whole model, its state in pieces."""
    made, ids = model("primer", **SIZE), tokens(2, 13, 32)
    whole, state, found = made(ids).logits, State.empty(2), []
    for piece in ids.split([6, 1, 1, 5], 1):
        out = made(piece, state)
        state = out.state
        found.append(out.logits)
    assert gap(torch.cat(found, 1), whole) < 1e-10
