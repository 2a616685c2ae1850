"""Parts of hybrids and of models with experts, each against its equations written out token by token."""

import pytest
import torch
from torch.nn.functional import silu, softplus

import blockyard as by
from blockyard import UsageError
from blockyard.core import Call, Spec
from blockyard.core.spec import block, channel, depth, head, linear, mixer, residual, stem
from blockyard.core.spec import model as model_spec
from blockyard.decode.program import Program
from blockyard.decode.ragged import padded, prefill


def made(name, dim=12, **settings):
    """In double precision, with no bias of zero and no gain of one."""
    part, draw = by.make(name, dim=dim, **settings).double(), torch.Generator().manual_seed(2)
    for p in part.parameters():
        p.data += 0.2 * torch.randn(p.shape, generator=draw, dtype=p.dtype)
    return part


def normal(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def gap(a, b):
    return float((a - b).detach().abs().max())


def windows(x, weight, bias=None):
    """The taps of a filter (E,W) on the last tokens of x (B,T,E), one token at a time."""
    out = []
    for t in range(x.shape[1]):
        found = sum(
            weight[:, -1 - i] * x[:, t - i] if t >= i else torch.zeros_like(x[:, 0]) for i in range(weight.shape[1])
        )
        out.append(found if bias is None else found + bias)
    return torch.stack(out, 1)


def test_a_real_gated_recurrence_token_by_token():
    part, x = made("mixer:rg_lru", heads=3, inner=18, sharp=5.0), normal(2, 7, 12)
    u, g = (x @ part.proj.weight.T).split(18, -1)
    u = windows(u, part.conv.weight, part.conv.bias)
    runs, h, out = u.unflatten(-1, (3, 6)), torch.zeros(2, 18, dtype=x.dtype), []
    for t in range(7):
        kept, write = (
            torch.cat([runs[:, t, i] @ each[6 * i : 6 * i + 6].T for i in range(3)], -1)
            for each in (part.keep_in, part.write_in)
        )
        kept, write = torch.sigmoid(kept + part.keep_bias), torch.sigmoid(write + part.write_bias)
        a = torch.exp(-5.0 * kept * softplus(part.rate))
        level = torch.ones_like(a) if t == 0 else (1 - a**2).sqrt()
        h = a * h + level * write * u[:, t]
        out.append(h)
    expected = (torch.stack(out, 1) * torch.nn.functional.gelu(g, approximate="tanh")) @ part.out.weight.T
    assert gap(part(x)[0], expected) < 1e-12


def test_a_rate_that_never_opens_remembers_and_is_finite():
    part, x = made("mixer:rg_lru", heads=2), normal(1, 5, 12).requires_grad_()
    part.keep_bias.data.fill_(-1e4)  # a = 1: nothing fades, nothing but the first token is written
    y = part(x)[0]
    y.sum().backward()
    assert y.isfinite().all() and x.grad.isfinite().all()
    again = part(torch.cat([x[:, :4], 3 * x[:, 4:]], 1).detach(), None)[0]
    assert gap(again[:, :4], y[:, :4]) == 0


def test_a_gated_convolution_token_by_token():
    part, x = (
        made("mixer:gated_conv", inner=9, conv=mixer("short_conv", width=3, bias=True, activation=None)),
        normal(2, 6, 12),
    )
    b, c, u = (x @ part.proj.weight.T).split(9, -1)
    expected = (c * windows(b * u, part.conv.weight, part.conv.bias)) @ part.out.weight.T
    assert gap(part(x)[0], expected) < 1e-12


def test_heads_that_share_keys_are_heads_with_the_same_keys():
    few = made("mixer:gated_deltanet", heads=6, key_heads=2, key_dim=4, value_dim=5)
    many, x = made("mixer:gated_deltanet", heads=6, key_dim=4, value_dim=5), normal(2, 9, 12)
    rows = torch.arange(8).view(2, 4)[[0, 0, 0, 1, 1, 1]].flatten()
    rows = torch.cat([rows, 8 + rows, torch.arange(16, 16 + 30)])  # queries, keys, values
    with torch.no_grad():
        for name, tensor in many.named_parameters():
            tensor.copy_(dict(few.named_parameters())[name] if "proj" not in name and "conv" not in name else tensor)
        many.conv.weight.copy_(few.conv.weight[rows])
        many.proj.weight.copy_(torch.cat([few.proj.weight[rows], few.proj.weight[46:]]))
    assert gap(few(x)[0], many(x)[0]) < 1e-12
    with pytest.raises(UsageError, match="key_heads"):
        by.make("mixer:gated_deltanet", dim=12, heads=6, key_heads=4)


def test_a_norm_inside_of_mamba_takes_all_three_apart():
    part, x = made("mixer:mamba", rank=3, state=4, norm=Spec.of("norm", "unit_rms", dict(eps=0.0))), normal(1, 6, 12)
    before = part(x)[0]
    for rows, same in ((slice(0, 3), True), (slice(3, 7), True), (slice(7, 11), True), (slice(2, 4), False)):
        kept = part.x_proj.weight.data.clone()
        part.x_proj.weight.data[rows] *= 3
        assert (gap(part(x)[0], before) < 1e-12) == same
        part.x_proj.weight.data.copy_(kept)


def test_a_norm_before_the_gate_of_mamba2_norms_what_is_gated():
    plain = made("mixer:mamba2", head_dim=4, state=4, norm="none")
    part, x = made("mixer:mamba2", head_dim=4, state=4, norm="none", before="rms"), normal(1, 6, 12)
    part.load_state_dict(plain.state_dict(), strict=False)
    wide = plain.out.weight.shape[1]
    for each in (plain, part):
        each.out.weight.data.copy_(torch.eye(wide, dtype=x.dtype)[:12])
    gate = silu((x @ plain.proj.weight.T)[..., :wide])[..., :12]
    whole = []
    for begin in range(0, wide, 12):  # all channels, twelve at a time
        plain.out.weight.data.copy_(torch.eye(wide, dtype=x.dtype)[begin : begin + 12])
        whole.append(plain(x)[0])
    inner = torch.cat(whole, -1) / silu((x @ plain.proj.weight.T)[..., :wide])
    normed = part.before.gain * inner / (inner.square().mean(-1, keepdim=True) + part.before.eps).sqrt()
    assert gap(part(x)[0], normed[..., :12] * gate) < 1e-9


def test_chosen_experts_share_one():
    part = made("channel:experts", experts=5, router=Spec.of("router", "top_softmax", dict(top=3))).router
    x = normal(2, 8, 12)
    w, p = part(x, Call.plain(x))
    shares = (x @ part.weight.T).softmax(-1)
    kept = shares * (shares >= shares.topk(3, -1).values[..., -1:])
    assert gap(p, shares) < 1e-12 and gap(w, kept / kept.sum(-1, keepdim=True)) < 1e-12
    with pytest.raises(UsageError, match="top=4 of 3 experts"):
        by.make("channel:experts", dim=12, experts=3, router=Spec.of("router", "top_softmax", dict(top=4)))


def test_a_shared_channel_is_added_as_far_as_its_gate_is_open():
    x = normal(2, 5, 12)
    for gate in (None, "sigmoid"):
        part = made("channel:and_shared", routed="mlp", gate=gate)
        z = part.shared(x)[0]
        z = z if gate is None else z * torch.sigmoid(x @ part.gate_in.weight[0])[..., None]
        assert gap(part(x)[0], part.routed(x)[0] + z) < 1e-12


def test_two_mixers_side_by_side_are_a_sum():
    part, x = made("mixer:side_by_side", dim=16), normal(2, 5, 16)
    assert gap(part(x)[0], part.first(x)[0] + part.second(x)[0]) < 1e-12


def around(part, **more):
    """A small model of two such layers."""
    return by.build(model_spec(
        dim=64, stem=stem("tokens", vocab=96), blocks=(block("a", part, channel("mlp", inner=96)),),
        residual=residual("prenorm"), depth=depth("stack", layers=2), head=head("lm"), **more,
    ))  # fmt: skip


def test_outputs_count_by_their_factors():
    plain = made("mixer:attention", heads=2)
    scaled = made("mixer:attention", heads=2)
    x, factors = normal(1, 5, 12), (0.5, -2.0, 3.0)
    model = around(mixer("attention", heads=2)).spec
    twisted = by.build(model.at("steps.*.part.qkv", spec=linear("scaled", factors=factors)))
    qkv = twisted.steps[0].part.qkv
    rows = torch.tensor(factors).repeat_interleave(64)
    y = torch.randn(1, 3, 64)
    assert gap(qkv(y), (y @ qkv.weight.T) * rows) < 1e-4
    grown = qkv.plus(up := torch.randn(192, 2), down := torch.randn(2, 64))[1]["weight"]
    assert gap((y @ grown.T) * rows, qkv(y) + y @ (up @ down).T) < 1e-3
    with pytest.raises(UsageError, match="2 factors for 3 runs"):
        by.build(model.at("steps.*.part.qkv", spec=linear("scaled", factors=(1.0, 2.0))))
    assert gap(plain(x)[0], scaled(x)[0]) == 0


@pytest.mark.parametrize(
    "part",
    [
        mixer("gated_deltanet", heads=4, key_heads=2, key_dim=16, value_dim=16), mixer("rg_lru", heads=4),
        mixer("gated_conv"), mixer("mamba", state=16, rank=16, norm="unit_rms"), mixer("side_by_side"),
        mixer("mamba2", head_dim=16, state=16, norm="none", before="rms"),
        mixer("attention", heads=4, gate="sigmoid", norm="rms"),
    ],
    ids=str,
)  # fmt: skip
@torch.no_grad()
def test_a_program_says_the_same(part):
    model = around(part)
    logits, state = prefill(model, padded([torch.arange(5), torch.arange(30, 39)]))
    program = Program.of(model, 2, 24)
    assert program is not None
    program.load(state)
    for _ in range(8):
        tokens = logits.argmax(-1)
        logits, state = prefill(model, tokens[:, None], state)
        assert gap(program.step(tokens), logits) < 1e-4 * max(1.0, float(logits.abs().max()))
