"""What must hold of windows that shift, and of the pyramid around them."""

import pytest
import torch
from system_cases import normal, shake

import blockyard as by
from blockyard.core import Call, Spec, gather
from blockyard.kernels import count_flops
from blockyard.transform.take import take

PLAIN = Spec.of("mixer", "attention", {"heads": 2, "position": Spec.of("position", "relative_grid", {"size": 4})})


def grid_call(rows, columns, batch=2):
    x = normal(batch, rows * columns, 16)
    return x, Call.plain(x, causal=False)._replace(grid=(rows, columns), memo={})


def windows(size=4, mixer=PLAIN, shift=False, seed=1):
    part = by.make("mixer:windows", dim=16, size=size, mixer=mixer, causal=False, seed=seed).double()
    part.shift = size // 2 if shift else 0
    return part


@pytest.mark.parametrize("sides", [(8, 8), (7, 10)])
@pytest.mark.parametrize("shift", [False, True])
def test_windows_hold_every_token_once(sides, shift):
    """(1) Cutting into windows and putting back is the identity."""
    x, call = grid_call(*sides)
    index, _ = windows(shift=shift)._inside(call)
    held = index[index >= 0]
    assert held.sort().values.equal(torch.arange(2 * sides[0] * sides[1]))
    same = windows(mixer=Spec("mixer", "identity"), shift=shift)
    assert torch.equal(same(x, call)[0], x)


def test_one_window_is_attention_with_the_bias():
    """(2)"""
    x, call = grid_call(4, 4)
    part = windows()
    assert torch.allclose(part(x, call)[0], part.mixer(x, call)[0], atol=1e-12)
    assert not torch.allclose(part.mixer(x, call)[0], part.mixer(x.flip(1), call)[0].flip(1), atol=1e-3)


def test_a_shifted_block_is_dense_attention_under_the_mask_of_its_windows():
    """(3)"""
    part = windows(mixer=Spec.of("mixer", "attention", {"heads": 2, "position": None}), shift=True)
    x, call = grid_call(8, 8)
    at = torch.arange(64)
    place = (at // 8 + 2) // 4 * 8 + (at % 8 + 2) // 4
    q, k, v = part.mixer.layout.split(part.mixer.qkv(x, call))
    q, k, v = (t.flatten(2, -2).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.transpose(-1, -2) * part.mixer.scale
    scores = scores.masked_fill(place[:, None] != place[None], float("-inf"))
    dense = part.mixer.out((scores.softmax(-1) @ v).transpose(1, 2).flatten(2), call)
    assert torch.allclose(part(x, call)[0], dense, atol=1e-10)


def test_each_head_has_a_table_of_steps_to_all_sides():
    """Where heads share keys too; no side can be narrowed."""
    given = dict(heads=4, kv_heads=2, position=Spec.of("position", "relative_grid", {"size": 4}))
    assert by.make("mixer:attention", dim=16, causal=False, **given).position.table.shape == (7, 7, 4)
    net = by.build("swin", "tiny")
    for side in ("rows", "columns"):
        with pytest.raises(by.UsageError, match="as far as the size says"):
            take(net, f"steps.0.part.mixer.position.{side}", range(2))


def seen_by(blocks, token):
    """Which tokens of an 8 x 8 grid a token's output depends on."""
    x, call = grid_call(8, 8, 1)
    x.requires_grad_(True)
    y = x
    for block in blocks:
        y = y + block(y, call)[0]
    (got,) = torch.autograd.grad(y[0, token].sum(), x)
    return got[0].abs().sum(-1) > 0


def test_only_a_shift_lets_windows_see_one_another():
    """(4) One block sees its window, two see more; (5) and nothing goes round the border."""
    at = torch.arange(64)
    own = (at // 8 < 4) & (at % 8 < 4)
    assert torch.equal(seen_by([windows()], 0), own)
    both = seen_by([windows(), windows(shift=True, seed=2)], 27)
    assert (both & ~own).any()
    corner = seen_by([windows(shift=True)], 0)
    assert torch.equal(corner, (at // 8 < 2) & (at % 8 < 2))


def test_the_bias_depends_on_the_step_between_two_tokens_only():
    """(6)"""
    part = windows().mixer.position
    _, call = grid_call(4, 4)
    bias, at = part.bias(call)[0], torch.arange(16)
    place = torch.stack([at // 4, at % 4], -1)
    steps = (place[:, None] - place[None]).flatten(0, 1)
    values = {}
    for step, value in zip(map(tuple, steps.tolist()), bias.flatten(1).T):
        assert torch.equal(values.setdefault(step, value), value)
    assert len({tuple(v.tolist()) for v in values.values()}) == 49


def test_the_cost_is_linear_in_the_pixels():
    """(7)"""
    counts = []
    for side in (16, 32):
        with torch.device("meta"):
            part = by.make("mixer:windows", dim=16, size=4, mixer=PLAIN, causal=False)
            x = torch.empty(1, side * side, 16)
            with count_flops() as tally, torch.no_grad():
                part(x, Call.plain(x, causal=False)._replace(grid=(side, side), memo={}))
        counts.append(sum(tally.values()))
    assert counts[1] / counts[0] == pytest.approx(4, rel=0.1)


def test_merging_halves_the_grid_and_doubles_the_width():
    part = by.make("junction:patch_merge", dim=16, causal=False).double()
    x, call = grid_call(4, 6)
    y, after, _ = part(x, call)
    assert y.shape == (2, 6, 32) and after.grid == (2, 3) and after.positions.shape == (2, 6)
    near = torch.tensor([[0, 6, 1, 7]])  # the first four, columns first
    assert torch.allclose(y[:1, 0], part.proj(part.norm(gather(x[:1], near).flatten(1), call), call))
    with pytest.raises(by.UsageError, match="grid of even sides"):
        part(x, call._replace(grid=(3, 8)))


@torch.no_grad()
@pytest.mark.parametrize("side, window", [(32, 4), (16, 4), (24, 3)])
def test_it_is_the_swin_of_transformers(side, window, tmp_path):
    """The oracle: the same outputs for the same random weights, as the recipe lays them out."""
    transformers = pytest.importorskip("transformers")
    config = transformers.SwinConfig(
        image_size=side, patch_size=2, num_channels=3, embed_dim=32, depths=[2, 2], num_heads=[2, 4],
        window_size=window, drop_path_rate=0.0, num_labels=5,
    )  # fmt: skip
    theirs = shake(transformers.SwinForImageClassification(config).eval())
    theirs.save_pretrained(tmp_path)
    ours = by.load(tmp_path)
    size = dict(dim=32, layers=4, shallow=2, height=side, width=side, patch=2, head_dim=16, window=window, classes=5)
    assert {name: p.shape for name, p in by.build("swin", **size).named_parameters()} == {
        name: p.shape for name, p in ours.named_parameters()
    }
    images = torch.randn(3, side, side, 3)
    wanted = theirs(images.permute(0, 3, 1, 2)).logits
    assert torch.allclose(ours(images).prediction["classes"], wanted, atol=1e-4 * wanted.abs().max().item())
    recipe = by.build("swin", **size)
    recipe.load_state_dict(ours.state_dict())
    assert torch.allclose(recipe(images).prediction["classes"], wanted, atol=1e-4 * wanted.abs().max().item())


@torch.no_grad()
def test_a_grid_is_filled_up_with_tokens_that_are_read():
    """Zeros below and to the right, which the windows there read; a grid of whole windows stays as it is."""
    whole, part = (
        by.make(f"mixer:{name}", dim=16, causal=False, size=4, seed=3).double() for name in ("windows", "filled_grid")
    )
    part.mixer.load_state_dict(whole.state_dict())
    part.mixer.size, part.mixer.shift = whole.size, whole.shift
    x, call = grid_call(6, 8)
    wide = torch.nn.functional.pad(x.unflatten(1, (6, 8)), (0, 0, 0, 0, 0, 2)).flatten(1, 2)
    _, full = grid_call(8, 8)
    assert torch.equal(part(x, call)[0], whole(wide, full)[0][:, :48])
    assert not torch.allclose(part(x, call)[0], whole(x, call)[0], atol=1e-3)
    assert torch.equal(part(wide, full)[0], whole(wide, full)[0])
    with pytest.raises(by.UsageError, match="fills up a grid"):
        part(x, call._replace(grid=None))
