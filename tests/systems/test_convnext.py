"""What must hold of a wide filter and a channel behind one skip, and of the pyramid around them."""

import pytest
import torch
from system_cases import F64, model, normal, part, shake

import blockyard as by
from blockyard.core import Call
from blockyard.model.count import count_flops, on_meta

SIZE = dict(dim=16, layers=4, stages=2, shallow=2, height=16, width=16, channels=2, patch=2, kernel=5, classes=3)


def grid_call(rows, columns, dim=16, batch=2):
    x = normal(batch, rows * columns, dim)
    return x, Call.plain(x, causal=False)._replace(grid=(rows, columns), memo={})


def test_a_filter_is_the_sum_over_its_neighbours():
    """(1) The same by channels first, written out."""
    filt = part("mixer:depthwise2d", kernel=3, causal=False)
    x, call = grid_call(4, 5)
    plane = torch.nn.functional.pad(x.view(2, 4, 5, 16), (0, 0, 1, 1, 1, 1))
    want = filt.bias + sum(
        filt.weight[:, u, v] * plane[:, u : u + 4, v : v + 5] for u in range(3) for v in range(3)
    )  # fmt: skip
    assert torch.allclose(filt(x, call)[0], want.flatten(1, 2), atol=1e-12)


def test_a_fresh_block_is_nearly_its_input_and_one_of_scale_zero_is_it():
    """(2), (6)"""
    built = by.build("convnext", **SIZE).double()
    x, call = grid_call(8, 8)
    step = built.steps[0]
    y, _ = step(x, call, None)
    assert 0 < (y - x).abs().max() <= 1e-5 * x.abs().max()
    torch.nn.init.zeros_(step.rule.gain)
    assert torch.equal(step(x, call, None)[0], x)


@torch.no_grad()
def test_it_moves_with_the_image_by_whole_strides():
    """(3) Away from the border, an image that moves by the total stride moves what is said of it."""
    built = model("convnext", **SIZE | dict(height=48, width=48, layers=2, shallow=1, kernel=3))
    image = torch.zeros(1, 48, 48, 2, dtype=F64)
    image[:, 16:24, 16:24] = normal(1, 8, 8, 2)
    moved = image.roll((4, 8), (1, 2))
    one, other = (built.run(built.start(x)).x.view(12, 12, -1) for x in (image, moved))
    assert torch.allclose(one.roll((1, 2), (0, 1))[4:10, 4:10], other[4:10, 4:10], atol=1e-10)
    assert one.std() > 1e-3


def test_a_filter_of_one_in_the_middle_is_the_identity():
    """(4)"""
    filt = by.make("mixer:depthwise2d", dim=16, kernel=7, causal=False).double()
    with torch.no_grad():
        filt.weight.zero_()[:, 3, 3] = 1
    x, call = grid_call(5, 6)
    assert torch.equal(filt(x, call)[0], x)


def test_the_cost_is_linear_in_the_pixels():
    """(5)"""
    costs = [count_flops(on_meta(by.spec("convnext", **SIZE | dict(height=s, width=s))), 1) for s in (32, 64)]
    assert costs[1] / costs[0] == pytest.approx(4, rel=0.01)


def test_filters_need_a_grid_and_a_middle():
    x = normal(1, 6, 16)
    with pytest.raises(by.UsageError, match="needs a grid"):
        by.make("mixer:depthwise2d", dim=16, causal=False).double()(x)
    with pytest.raises(by.UsageError, match="must be odd"):
        by.make("mixer:depthwise2d", dim=16, kernel=4, causal=False)


@torch.no_grad()
def test_it_is_the_convnext_of_transformers(tmp_path):
    """The oracle: the same outputs for the same random weights, as the recipe lays them out."""
    transformers = pytest.importorskip("transformers")
    config = transformers.ConvNextConfig(
        num_channels=2, patch_size=2, num_stages=2, hidden_sizes=[16, 32], depths=[2, 2], num_labels=3,
        layer_norm_eps=1e-6, image_size=16,
    )  # fmt: skip
    theirs = shake(transformers.ConvNextForImageClassification(config).eval())
    theirs.save_pretrained(tmp_path)
    recipe = by.build("convnext", **SIZE | dict(kernel=7))
    recipe.load_state_dict(by.load(tmp_path).state_dict())
    images = torch.randn(3, 16, 16, 2)
    wanted = theirs(images.permute(0, 3, 1, 2)).logits
    for ours in (by.load(tmp_path), recipe):
        said = ours(images).prediction["classes"]
        assert torch.allclose(said, wanted, atol=1e-5 * wanted.abs().max().item() + 1e-5)
