"""Norms and activations at the limits where they are something else, and every usual one by name."""

import pytest
import torch
from torch.nn import functional

import blockyard as by
from blockyard.core import Call
from blockyard.core.spec import activation
from blockyard.transform.take import take

F64 = torch.float64


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def made(name, dim=12, **settings):
    """A part in double precision, its gains and biases away from where they start."""
    part = by.make(name, dim=dim, **settings).double()
    for i, p in enumerate(part.parameters()):
        p.data += 0.3 * normal(*p.shape, seed=i + 1)
    return part


def near(a, b, tolerance=1e-12):
    return torch.allclose(a, b, rtol=0, atol=tolerance)


X = normal(3, 5, 12)


@torch.no_grad()
def test_a_gain_that_is_kept_from_one():
    """The same as a gain of one more; in few bits the distance from one is not rounded away."""
    part, plain = made("norm:rms_unit_offset", eps=0.01), by.make("norm:rms", dim=12, eps=0.01).double()
    plain.gain.copy_(1 + part.gain)
    assert near(part(X), plain(X))
    assert torch.equal(by.make("norm:rms_unit_offset", dim=12).gain, torch.zeros(12))
    wide = made("norm:rms_unit_offset").bfloat16()
    exact = by.make("norm:rms", dim=12, eps=1e-6).double()
    exact.gain.copy_(1 + wide.gain.double())
    assert torch.equal(wide(X.bfloat16()), exact(X.bfloat16().double()).bfloat16())


@torch.no_grad()
def test_a_norm_that_learns_nothing():
    part = made("norm:standard", eps=0.02)
    assert not list(part.parameters()) and near(part(X), functional.layer_norm(X, (12,), eps=0.02))


@torch.no_grad()
def test_a_group_norm_is_the_framework_s_of_each_token():
    for groups in (1, 3, 12):
        part = made("norm:group", groups=groups, eps=1e-3)
        want = functional.group_norm(X.flatten(0, 1), groups, part.gain, part.bias, 1e-3).view_as(X)
        assert near(part(X), want)
    assert near(by.make("norm:group", dim=12).double()(X), by.make("norm:layer", dim=12).double()(X))
    assert by.make("norm:group", dim=12, groups=12).double()(X).abs().max() == 0  # a channel is its own mean
    with pytest.raises(by.UsageError, match="groups=5 does not divide 12"):
        made("norm:group", groups=5)


def test_a_stream_with_groups_is_narrowed_by_whole_numbers_of_them():
    net = by.build("llama", "tiny", **{"residual.norm": "group", "norm.groups": 4, "head.norm": "rms"})
    with pytest.raises(by.UsageError, match="must stay a multiple of 4"):
        take(net, "stream", torch.arange(30))
    assert (
        net.axes["stream"].ordered
        and not by.build("llama", "tiny", **{"residual.norm": "group"}).axes["stream"].ordered
    )


@torch.no_grad()
def test_a_compressed_norm_is_layer_norm_of_the_whole_token():
    whole = X - X.mean(-1, keepdim=True)
    part = by.make("norm:crms", dim=11, eps=1e-3).double()
    assert near(part(whole[..., :-1]), functional.layer_norm(whole, (12,), eps=1e-3)[..., :-1])
    part.gain.copy_(normal(11, seed=4))
    assert near(part(whole[..., :-1]), functional.layer_norm(whole, (12,), eps=1e-3)[..., :-1] * part.gain)
    usual, said = by.make("norm:crms", dim=12).double(), by.make("norm:crms", dim=12, eps=1e-5).double()
    assert torch.equal(usual(0.01 * X), said(0.01 * X))
    balanced = torch.cat([X, -X], -1)  # channels that already sum to zero: the one left out is 0
    crms, rms = by.make("norm:crms", dim=24, eps=0.0).double(), by.make("norm:rms", dim=24, eps=0.0).double()
    assert near(crms(balanced), rms(balanced) * (25 / 24) ** 0.5)


@torch.no_grad()
def test_a_dynamic_tanh_is_a_line_near_zero_and_a_sign_far_from_it():
    part = made("norm:dynamic_tanh")
    assert near(part(X), part.gain * torch.tanh(part.alpha * X) + part.bias)
    small, fresh = 1e-5 * X, by.make("norm:dynamic_tanh", dim=12).double()
    assert near(fresh(small), 0.5 * small, 1e-13) and near(fresh(1e9 * X), X.sign())
    assert by.make("norm:dynamic_tanh", dim=4, alpha=2.0).alpha == 2


@torch.no_grad()
def test_a_soft_cap_is_the_number_itself_or_the_cap():
    for cap in (2.0, 30.0):
        part = by.make("activation:softcap", dim=12, cap=cap)
        assert near(part(1e-5 * X), 1e-5 * X, 1e-13) and near(part(1e9 * X), cap * X.sign())
        assert part(10 * X).abs().max() < cap and near(part(X), cap * torch.tanh(X / cap))
    assert by.make("activation:softcap", dim=1).cap == 30


@torch.no_grad()
def test_the_scores_of_a_head_can_be_capped():
    ids = torch.arange(24).view(2, 12)
    plain, capped = (
        by.build("llama", "tiny"),
        by.build("llama", "tiny", **{"head.activation": activation("softcap", cap=0.5)}),
    )
    assert near(capped(ids).logits, 0.5 * torch.tanh(plain(ids).logits / 0.5), 1e-6)
    assert capped(ids).logits.abs().max() < 0.5 < plain(ids).logits.abs().max()


ACTIVATIONS = {
    "relu": functional.relu,
    "squared_relu": lambda x: functional.relu(x) ** 2,
    "gelu": lambda x: functional.gelu(x, approximate="tanh"),
    "gelu_exact": functional.gelu,
    "silu": functional.silu,
}


@torch.no_grad()
@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("kind", ["mlp", "gated"])
def test_every_usual_channel_has_a_name(kind, name):
    """channel:mlp with activation=NAME; gated with silu is SwiGLU, with gelu GEGLU, with relu ReGLU."""
    part, x = by.make(f"channel:{kind}", dim=12, inner=20, activation=name).double(), X
    call, act = Call.plain(x), ACTIVATIONS[name]
    first, second = part.up.weight, part.down.weight
    hidden = act(x @ first.T) if kind == "mlp" else act(x @ first[:20].T) * (x @ first[20:].T)
    assert near(part(x, call)[0], hidden @ second.T) and near(by.make(f"activation:{name}", dim=12)(x), act(x))


def test_gated_channels_are_swiglu_unless_told_otherwise():
    assert by.make("channel:gated", dim=12).activation.spec.name == "silu"
    spec = by.spec("llama", "tiny", **{"channel.activation": "gelu"})  # GEGLU, in any recipe
    assert by.build(spec).steps[1].part.activation.spec.name == "gelu"
