"""What must hold of an encoder whose tokens are variables."""

import pytest
import torch
from system_cases import gap, model, normal

import blockyard as by
from blockyard.core import Batch
from blockyard.model.count import count_flops, on_meta

L, H = 24, 12


def made(channels=5, seed=1, **settings):
    return model("itransformer", seed, size="tiny", length=L, horizon=H,
                 **dict(channels=channels, outputs=channels) | settings)  # fmt: skip


def forecast(m, x):
    return m(Batch(x)).prediction["forecast"]


def moved(m, channels):
    """The same weights for another number of variables."""
    other = by.build("itransformer", size="tiny", length=L, horizon=H, channels=channels, outputs=channels).double()
    other.load_state_dict(m.state_dict())
    return other


@torch.no_grad()
def test_permuting_variables_permutes_forecasts():
    """(1) and positions, added by habit, would break it."""
    m, x, turn = made(), normal(2, L, 5), torch.tensor([3, 0, 4, 1, 2])
    assert gap(forecast(m, x[..., turn]), forecast(m, x)[..., turn]) < 1e-10
    wrong = made(**{"mixer.position": "rope"})
    assert gap(forecast(wrong, x[..., turn]), forecast(wrong, x)[..., turn]) > 1e-3


@torch.no_grad()
def test_other_numbers_of_variables():
    """(2) trained on five, it runs on eight or one."""
    m = made()
    assert forecast(moved(m, 8), normal(2, L, 8)).shape == (2, H, 8)
    x = normal(2, L, 1)
    assert (
        gap(forecast(moved(m, 2), x.repeat(1, 1, 2))[..., :1], forecast(moved(m, 1), x)) < 1e-10
    )  # a copy tells nothing


@torch.no_grad()
def test_forecasts_follow_level_and_scale():
    """(3) f(a x + b) = a f(x) + b for each variable, a > 0; without scaling it does not."""
    x, a, b = (
        10 * normal(2, L, 5),
        torch.tensor([3.0, 1, 2, 9, 5]).double(),
        torch.tensor([-90.0, 4, 0, 8, 1e3]).double(),
    )
    m = made()
    assert gap((forecast(m, a * x + b) - b) / a, forecast(m, x)) < 1e-3
    wrong = made(**{"stem.scaling": None})
    assert gap((forecast(wrong, a * x + b) - b) / a, forecast(wrong, x)) > 1e-2


def test_without_attention_variables_are_apart():
    """(4) with what attention writes zeroed, no forecast depends on another variable; with it, all do."""
    m, x = made(), normal(1, L, 5)

    def reach():
        full = torch.autograd.functional.jacobian(lambda x: forecast(m, x).sum((0, 1)), x)[:, 0]  # (K,L,C)
        return full.abs().sum(1)

    assert (reach() > 1e-6).all()
    with torch.no_grad():
        for step in m.steps[::2]:
            step.part.out.weight.zero_()
            step.part.out.bias.zero_()
    alone = reach()
    assert (alone.diagonal() > 1e-6).all() and alone.fill_diagonal_(0).max() == 0


@torch.no_grad()
def test_one_variable_reads_itself_alone():
    """(5) with one token every weight is 1: what attention reads is its value."""
    m = made(1)
    out = m(Batch(normal(2, L, 1)), points={"steps.0.part:v": "read", "steps.0.part:context": "read"})
    v, context = (next(value for key, value in out.captures.items() if key[3] == name) for name in ("v", "context"))
    assert gap(context, v.flatten(2)) < 1e-12


def test_cost_grows_with_the_square_of_the_variables_and_with_the_length_once():
    """(6) the number of tokens does not depend on the length."""

    def cost(channels, length):
        settings = dict(channels=channels, outputs=channels, length=length, dim=32, horizon=H)
        return count_flops(on_meta(by.spec("itransformer", "tiny", **settings)), length)

    first, second, third = (cost(16, length) for length in (24, 48, 96))
    assert third - second == 2 * (second - first) > 0
    attended = [cost(n, 24) - n * cost(1, 24) for n in (64, 128, 256)]
    assert 3.8 < attended[1] / attended[0] < 4.2 and 3.8 < attended[2] / attended[1] < 4.2
    m, longer = made(), model("itransformer", size="tiny", length=4 * L, channels=5, outputs=5)
    assert m.start(m.example(1, 0)).x.shape[1] == longer.start(longer.example(1, 0)).x.shape[1] == 5


@torch.no_grad()
def test_columns_beside_the_targets_are_read_and_never_forecast():
    """(7) they change forecasts and are none."""
    m, x = made(outputs=2), normal(2, L, 5)
    other = torch.cat([x[..., :2], normal(2, L, 3, seed=3)], -1)
    assert forecast(m, x).shape == (2, H, 2) and gap(forecast(m, other), forecast(m, x)) > 1e-3


def literal(m, x):
    """The same encoder from the weights alone, by torch's own modules."""
    mean, dev = x.mean(1, keepdim=True), (x.var(1, keepdim=True, unbiased=False) + 1e-5).sqrt()
    tokens = ((x - mean) / dev).transpose(1, 2) @ m.stem.proj.weight.T + m.stem.proj.bias
    width, heads = m.stream.size, m.axes["steps.0.part.kv"].size
    for mix, feed in zip(m.steps[::2], m.steps[1::2]):
        layer = torch.nn.TransformerEncoderLayer(
            width, heads, feed.part.up.weight.shape[0], 0.0, "gelu", batch_first=True, dtype=x.dtype
        )
        attention = layer.self_attn
        pairs = [
            (attention.in_proj_weight, mix.part.qkv.weight), (attention.in_proj_bias, mix.part.qkv.bias),
            (attention.out_proj.weight, mix.part.out.weight), (attention.out_proj.bias, mix.part.out.bias),
            (layer.linear1.weight, feed.part.up.weight), (layer.linear1.bias, feed.part.up.bias),
            (layer.linear2.weight, feed.part.down.weight), (layer.linear2.bias, feed.part.down.bias),
            (layer.norm1.weight, mix.rule.norm.gain), (layer.norm1.bias, mix.rule.norm.bias),
            (layer.norm2.weight, feed.rule.norm.gain), (layer.norm2.bias, feed.rule.norm.bias),
        ]  # fmt: skip
        for mine, theirs in pairs:
            mine.copy_(theirs)
        tokens = layer.train()(tokens)
    tokens = torch.nn.functional.layer_norm(tokens, (width,), m.head.norm.gain, m.head.norm.bias)
    return (tokens @ m.head.proj.weight.T + m.head.proj.bias).transpose(1, 2) * dev + mean


@torch.no_grad()
def test_torch_s_own_encoder_layers_agree():
    """The whole system with copied weights, layer by layer; another seed's weights do not."""
    m, x = made(), normal(2, L, 5)
    assert gap(forecast(m, x), literal(m, x)) < 1e-9
    assert gap(forecast(m, x), literal(made(seed=2), x)) > 1e-2


def test_windows_of_another_length_are_refused():
    with pytest.raises(by.UsageError, match="windows of 24 steps"):
        forecast(made(), normal(1, 25, 5))
    with pytest.raises(by.UsageError, match="variates of the stem"):
        by.build("llama", size="tiny", **{"model.stem": by.Spec("stem", "series_patches"),
                                          "model.head": by.Spec("head", "variates")})  # fmt: skip
