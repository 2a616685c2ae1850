"""Parts of series: windows become tokens, forecasts go back to the scale that their windows had."""

import pytest
import torch

import blockyard as by
from blockyard.core import Batch, Call
from blockyard.core.spec import Spec, block, depth, head, mixer, model, residual, stem
from blockyard.transform.take import take

F64 = torch.float64


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def built(windows, reader, dim=16, **settings):
    spec = model(dim=dim, stem=windows, blocks=(), residual=residual("prenorm"), depth=depth("none"), head=reader,
                 **settings)  # fmt: skip
    return by.build(spec).double()


@torch.no_grad()
@pytest.mark.parametrize("length,patch,stride,count", [(96, 16, 8, 12), (24, 16, 8, 3), (10, 16, 8, 2), (20, 5, 3, 7)])
def test_patches_cover_a_window_and_go_on_with_its_last_value(length, patch, stride, count):
    m = built(stem("series_patches", length=length, channels=3, outputs=2, patch=patch, stride=stride, scaling=None),
              head("steps_ahead", horizon=4))  # fmt: skip
    x = normal(2, length, 3)
    flow = m.start(Batch(x))
    assert flow.x.shape == (4, count, 16) and flow.call.positions.shape == (4, count)
    size = min(patch, length)
    for row in range(4):
        series = torch.cat([x[row // 2, :, row % 2], x[row // 2, -1:, row % 2].expand(stride)])
        for j in range(count):
            wanted = m.stem.proj(series[j * stride : j * stride + size], None)
            assert (flow.x[row, j] - wanted).abs().max() < 1e-12


@torch.no_grad()
@pytest.mark.parametrize("name", ["instance", "centred", "from_last"])
def test_a_scaling_is_undone(name):
    part = by.make(f"norm:{name}", dim=7).double()
    x = 3 * normal(5, 7) + 2
    offset, scale = part.statistics(x)
    y = part(x)
    assert (y * scale + offset - x).abs().max() < 1e-12
    assert torch.equal(part(x.view(5, 1, 7)), y.view(5, 1, 7))  # a row by itself, however rows lie
    if name == "from_last":
        assert y[:, -1].abs().max() == 0 and (scale == 1).all()
    else:
        assert y.mean(-1).abs().max() < 1e-12
        assert ((y.square().mean(-1) - 1).abs() < 1e-4).all() == (name == "instance")


@torch.no_grad()
@pytest.mark.parametrize("stem_name,head_name", [("series_patches", "steps_ahead"), ("variates", "variates")])
def test_a_head_puts_back_what_the_stem_took(stem_name, head_name):
    m = built(stem(stem_name, length=24, channels=3, outputs=2), head(head_name, horizon=4))
    m.head.proj.weight.zero_()
    m.head.proj.bias.copy_(torch.arange(4.0))
    x = normal(2, 24, 3) * torch.tensor([1.0, 5, 2]) + torch.tensor([0.0, 9, 7])
    mean, scale = x.mean(1)[:, :2], (x.var(1, unbiased=False)[:, :2] + 1e-5).sqrt()
    wanted = torch.arange(4.0, dtype=F64)[None, :, None] * scale[:, None] + mean[:, None]
    assert (m(Batch(x)).prediction["forecast"] - wanted).abs().max() < 1e-12


@torch.no_grad()
@pytest.mark.parametrize("norm", [None, "rms"])
def test_a_head_of_variables_reads_those_asked_for_through_its_norm(norm):
    m = built(stem("variates", length=24, channels=3, outputs=2, scaling=None), head("variates", horizon=4, norm=norm))
    flow = m.start(Batch(normal(2, 24, 3)))
    assert flow.call.positions.tolist() == [[0, 1, 2]] * 2
    x = flow.x[:, :2]
    x = x if norm is None else x * (x.square().mean(-1, keepdim=True) + m.head.norm.eps).rsqrt()
    wanted = x @ m.head.proj.weight.T + m.head.proj.bias
    assert (m.finish(flow).prediction["forecast"] - wanted.transpose(1, 2)).abs().max() < 1e-12


def test_what_stands_where_nothing_is_said():
    """Windows of 96 steps of one variable, which is asked for; patches of 16 every 8, a trend over 25."""
    for name in ("series_patches", "variates", "decompose"):
        reader = head("variates" if name == "variates" else "steps_ahead", horizon=4)
        m = built(stem(name), reader, dim=96)
        assert [m.axes[f"stem.{axis}"].size for axis in ("length", "channels", "outputs")] == [96, 1, 1]
        assert m.example(3, 5, torch.Generator().manual_seed(0)).tokens.shape == (3, 96, 1)
        if name == "series_patches":
            assert (m.stem.patch.size, m.stem.stride) == (16, 8)
        assert name != "decompose" or m.stem.average == 25


def test_positions_of_patches_are_as_many_as_a_window_has():
    m = built(stem("series_patches", length=24, position="learned"), head("steps_ahead", horizon=4))
    with pytest.raises(by.UsageError, match="a window gives so many tokens"):
        take(m, "stem.position.length", range(2))


@torch.no_grad()
def test_a_trend_and_what_is_left_of_it_are_the_series():
    m = built(stem("decompose", length=16, average=9), head("steps_ahead", horizon=4))
    x = normal(2, 16, 1)
    rest, trend = m.start(Batch(x)).x.unbind(1)
    assert (rest + trend - x[..., 0]).abs().max() < 1e-12
    assert (trend[:, 4:12] - x[..., 0].unfold(1, 9, 1).mean(-1)).abs().max() < 1e-12
    with pytest.raises(by.UsageError, match="average=4 has no middle"):
        built(stem("decompose", length=16, average=4), head("steps_ahead", horizon=4))


def test_each_row_becomes_several_with_what_holds_of_it():
    call = Call.plain(normal(2, 5, 3))._replace(conditions={"kind": torch.tensor([[1.0], [2.0]])})
    laid = call.laid(4, each=3)
    assert laid.positions.tolist() == [[0, 1, 2, 3]] * 6
    assert laid.conditions["kind"].flatten().tolist() == [1, 1, 1, 2, 2, 2]
    assert call.laid(4).positions.shape == (2, 4)


def test_what_does_not_fit_is_refused():
    windows, reader = stem("series_patches", length=24, channels=3, outputs=2), head("steps_ahead", horizon=4)
    for wrong, said in (
        (lambda: built(stem("series_patches", channels=2, outputs=3), reader), "outputs=3 cannot be more than"),
        (lambda: built(stem("series_patches", scaling="rms"), reader), "norm:rms cannot be undone"),
        (lambda: built(stem("tokens"), reader), "asks for the outputs"),
        (lambda: built(windows, head("variates", horizon=4)), "asks for the variates"),
        (lambda: built(windows, reader)(Batch(normal(2, 25, 3))), "windows of 24 steps"),
    ):
        with pytest.raises(by.UsageError, match=said):
            wrong()


@torch.no_grad()
def test_patchtst_agrees_with_another_implementation():
    """transformers' PatchTST with its weights: patches, positions, encoder, flat head, scaled back."""
    transformers = pytest.importorskip("transformers")
    config = transformers.PatchTSTConfig(
        num_input_channels=3, context_length=40, prediction_length=8, patch_length=16, patch_stride=8, d_model=16,
        num_hidden_layers=2, num_attention_heads=2, ffn_dim=32, norm_type="layernorm", pre_norm=False, dropout=0.0,
        attention_dropout=0.0, positional_dropout=0.0, ff_dropout=0.0, path_dropout=0.0, head_dropout=0.0,
        scaling="std", activation_function="gelu", positional_encoding_type="sincos", share_projection=True,
        use_cls_token=False, pooling_type=None, loss="mse", minimum_scale=1e-5, do_mask_input=False,
    )  # fmt: skip
    theirs = transformers.PatchTSTForPrediction(config).double().eval()
    count = (40 - 16) // 8 + 1
    m = by.build("patchtst", "tiny", dim=16, layers=2, heads=2, ffn=32, length=40, horizon=8, channels=3, outputs=3)
    m = m.double()
    encoder = theirs.model.encoder
    m.stem.proj.weight.copy_(encoder.embedder.input_embedding.weight)
    m.stem.proj.bias.copy_(encoder.embedder.input_embedding.bias)
    m.stem.position.table[:count] = encoder.positional_encoder.position_enc
    for mix, feed, layer in zip(m.steps[::2], m.steps[1::2], encoder.layers):
        attention = layer.self_attn
        for end in ("weight", "bias"):
            qkv = [getattr(getattr(attention, f"{name}_proj"), end) for name in "qkv"]
            getattr(mix.part.qkv, end).copy_(torch.cat(qkv))
            getattr(mix.part.out, end).copy_(getattr(attention.out_proj, end))
            getattr(feed.part.up, end).copy_(getattr(layer.ff[0], end))
            getattr(feed.part.down, end).copy_(getattr(layer.ff[3], end))
        for rule, theirs_norm in ((mix.rule, layer.norm_sublayer1), (feed.rule, layer.norm_sublayer3)):
            rule.norm.gain.copy_(theirs_norm.norm.weight if hasattr(theirs_norm, "norm") else theirs_norm.weight)
            rule.norm.bias.copy_(theirs_norm.norm.bias if hasattr(theirs_norm, "norm") else theirs_norm.bias)
    x = 3 * normal(2, 40, 3) + 1
    flow = m.run(m.start(Batch(x)))
    # theirs has no patch that goes on with the last value: ours is asked for the others alone
    alone = m.start(Batch(x))
    call = alone.call.laid(count)
    fewer = m.run(alone._replace(carry=alone.x[:, :count], call=call)).x
    assert flow.x.shape[1] == count + 1
    hidden = theirs.model(x).last_hidden_state.flatten(0, 1)
    assert (fewer - hidden).abs().max() < 1e-6
    m.head.proj.weight[:, : count * 16] = theirs.head.projection.weight
    m.head.proj.bias.copy_(theirs.head.projection.bias)
    said, _, _ = m.head(torch.cat([fewer, torch.zeros_like(fewer[:, :1])], 1), flow.call)
    assert (said["forecast"] - theirs(x).prediction_outputs).abs().max() < 1e-6


def test_a_body_between_the_ends_may_be_any():
    spec = model(
        dim=16, stem=stem("decompose", length=16, channels=2, outputs=2),
        blocks=(block("layer", mixer("attention", heads=2)),), residual=residual("prenorm"),
        depth=depth("stack", layers=1), head=Spec.of("head", "steps_ahead", dict(horizon=4)),
    )  # fmt: skip
    assert by.build(spec)(Batch(torch.randn(3, 16, 2))).prediction["forecast"].shape == (3, 4, 2)
