"""What must hold of the skeleton with the plainest of mixers."""

import pytest
import torch
from system_cases import F64, model, normal

import blockyard as by
from blockyard.core import Call
from blockyard.model.count import count_flops, on_meta

SIZE = dict(dim=16, layers=4, stages=2, shallow=2, height=16, width=16, channels=2, patch=2, classes=3)
POOL = dict(dim=16, causal=False)


def grid_call(rows, columns, x=None):
    x = normal(2, rows * columns, 16) if x is None else x
    return x, Call.plain(x, causal=False)._replace(grid=(rows, columns), memo={})


def test_a_constant_image_is_pooled_to_nothing():
    """(1) Borders included."""
    x, call = grid_call(4, 5, torch.full((2, 20, 16), 3.0, dtype=F64))
    assert by.make("mixer:pool2d", **POOL)(x, call)[0].abs().max() < 1e-12


def test_pooling_is_a_filter_of_neighbours_less_the_token():
    """(2) A depthwise filter of 1/n - 1 in the middle, n the neighbours that there are."""
    pool, filt = by.make("mixer:pool2d", **POOL), by.make("mixer:depthwise2d", kernel=3, **POOL).double()
    with torch.no_grad():
        filt.weight.fill_(1.0)
    x, call = grid_call(4, 5)
    ones = torch.ones_like(x)
    want = filt(x, call)[0] / filt(ones, call)[0] - x
    assert torch.allclose(pool(x, call)[0], want, atol=1e-12)


def test_without_layer_scale_only_the_pyramid_is_left():
    """(3)"""
    built = model("metaformer", **SIZE)
    images = normal(2, 16, 16, 2)
    before = built(images).prediction["classes"]
    with torch.no_grad():
        for step in built.steps:
            if hasattr(step, "rule"):
                step.rule.gain.zero_()
    flow = built.start(images)
    call, x = flow.call, flow.x
    for step in built.steps:
        if not hasattr(step, "rule"):
            x, call, _ = step(x, call, None)
    bare = built.head(x, call, None)[0]["classes"]
    assert torch.allclose(built(images).prediction["classes"], bare, atol=1e-12)
    assert not torch.allclose(before, bare, atol=1e-3)


def test_the_cost_is_linear_in_the_pixels():
    """(5); (4), the published sizes, is held by the recipe's own figures."""
    costs = [count_flops(on_meta(by.spec("metaformer", **SIZE | dict(height=s, width=s))), 1) for s in (32, 64)]
    assert costs[1] / costs[0] == pytest.approx(4, rel=0.01)


@torch.no_grad()
def test_a_block_moves_with_the_image():
    """(6) Away from the borders, but for the norm, which sees the whole image."""
    built = model("metaformer", **SIZE | {"residual.norm": "none"})
    pool, channel = built.steps[0], built.steps[1]
    x = torch.zeros(1, 10, 10, 16, dtype=F64)
    x[:, 3:6, 3:6] = normal(1, 3, 3, 16)

    def block(plane):
        flat, call = grid_call(10, 10, plane.flatten(1, 2))
        return channel(pool(flat, call, None)[0], call, None)[0].view(1, 10, 10, 16)

    assert torch.allclose(block(x).roll((1, 2), (1, 2)), block(x.roll((1, 2), (1, 2))), atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize("causal", [True, False])
def test_a_fixed_mix_weighs_the_places_that_a_token_sees(causal):
    """The same weights in every row, which sum to one; whole rows, up to the length that was drawn."""
    made, x = by.make("mixer:fixed_random", dim=4, length=6, causal=causal).double(), normal(2, 6, 4)
    for length in (4, 6):
        weights = made.weights[:length, :length].exp()
        weights = weights.tril() if causal else weights
        weights = weights / weights.sum(1, keepdim=True)
        assert torch.allclose(made(x[:, :length])[0], weights @ x[:, :length], atol=1e-12)
    assert not list(made.parameters()) and made.weights.shape == (6, 6)
    with pytest.raises(by.UsageError, match="whole rows of at most 6 tokens"):
        made(normal(2, 7, 4))
    net = by.build("llama", "tiny", layers=1).spec.at("steps.0.part", spec=by.Spec("mixer", "fixed_random"))
    assert by.build(net).axes["steps.0.part.length"].ordered


@pytest.mark.parametrize("mixer", ["identity", "attention", "depthwise2d", "fixed_random"])
def test_any_mixer_stands_in_the_skeleton(mixer):
    built = by.build("metaformer", "tiny", mixer=mixer)
    assert built(torch.randn(2, 8, 8, 1)).prediction["classes"].shape == (2, 10)


def test_it_is_the_poolformer_of_transformers():
    """The oracle: the same outputs for the same random weights."""
    transformers = pytest.importorskip("transformers")
    config = transformers.PoolFormerConfig(
        num_channels=2, depths=[2, 2], hidden_sizes=[16, 32], num_encoder_blocks=2, patch_sizes=[3, 3], strides=[2, 2],
        padding=[1, 1], drop_path_rate=0.0, num_labels=3,
    )  # fmt: skip
    theirs = transformers.PoolFormerForImageClassification(config).eval()
    ours = model("metaformer", **SIZE).float()
    for p in theirs.parameters():
        p.data = torch.randn_like(p) * (0.2 if p.dim() > 1 else 0.5)
    with torch.no_grad():
        for name, tensor in _names(ours, theirs.state_dict()).items():
            own = ours.get_parameter(name)
            own.copy_(tensor.reshape(own.shape))
        images = torch.randn(3, 16, 16, 2)
        wanted = theirs(images.permute(0, 3, 1, 2)).logits
        said = ours(images).prediction["classes"]
    assert torch.allclose(said, wanted, atol=1e-5 * wanted.abs().max().item() + 1e-5)


def _names(ours, theirs):
    """Their tensors by our names."""
    found, step = {}, 0
    norms = {"weight": "gain", "bias": "bias"}
    for stage in range(2):
        for kind in norms:
            name = f"steps.{step}.part.{kind}" if stage else f"stem.{kind}"
            found[name] = theirs[f"poolformer.encoder.patch_embeddings.{stage}.projection.{kind}"]
        step += stage
        for block in range(2):
            here = f"poolformer.encoder.block.{stage}.{block}."
            for i, which in enumerate(("before", "after")):
                found[f"steps.{step + i}.rule.gain"] = theirs[f"{here}layer_scale_{i + 1}"]
                for kind, norm in norms.items():
                    found[f"steps.{step + i}.rule.norm.{norm}"] = theirs[f"{here}{which}_norm.{kind}"]
            for kind in norms:
                found[f"steps.{step + 1}.part.up.{kind}"] = theirs[f"{here}output.conv1.{kind}"]
                found[f"steps.{step + 1}.part.down.{kind}"] = theirs[f"{here}output.conv2.{kind}"]
            step += 2
    for kind, norm in norms.items():
        found[f"head.norm.{norm}"] = theirs[f"norm.{kind}"]
        found[f"head.proj.{kind}"] = theirs[f"classifier.{kind}"]
    assert {name for name, _ in ours.named_parameters()} == found.keys()
    return found
