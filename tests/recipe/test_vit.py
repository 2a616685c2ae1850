"""ViT: patches in their order and place, sight of all of them, and the numbers of another implementation."""

import pytest
import torch
from torch.nn.functional import cross_entropy

import blockyard as by
from blockyard import UsageError
from blockyard.core.spec import head, norm, stem

SHAPE = dict(height=8, width=12, patch=4, channels=3)
TOKEN = {"stem": stem("class_patches", **SHAPE), "head": head("class_token", classes=5, norm=norm("layer", eps=1e-12))}


def images(rows, shape=SHAPE, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(rows, shape["height"], shape["width"], shape["channels"], generator=draw)


def with_token(**sizes):
    system = by.spec("vit", **SHAPE, classes=5, **{"norm.eps": 1e-12}, **sizes)
    return by.build(system.but(model=system["model"].but(**TOKEN)))


def test_a_patch_is_a_square_of_the_image_and_knows_where_it_stands():
    made = by.build("vit", dim=16, layers=1, **SHAPE)
    flow = made.start(by.Batch(images(2)))
    assert flow.call.grid == (2, 3) and flow.x.shape == (2, 6, 16)
    square = images(2)[:, 4:8, 8:12].flatten(1)  # the second row's third
    expected = square @ made.stem.proj.weight.T + made.stem.proj.bias + made.stem.position.table[5]
    assert torch.allclose(flow.x[:, 5], expected, atol=1e-5)


def test_sines_on_a_grid_tell_rows_from_columns():
    settings = {"stem.position": "sinusoidal_2d"}
    made = by.build("vit", dim=16, layers=1, **SHAPE, **settings)
    with torch.no_grad():
        made.stem.proj.weight.zero_()
        made.stem.proj.bias.zero_()
    x = made.start(by.Batch(images(1))).x[0].unflatten(0, (2, 3))
    assert torch.allclose(x[0, :, 8:], x[0, :1, 8:].expand(3, 8)) and torch.allclose(
        x[:, 0, :8], x[:1, 0, :8].expand(2, 8)
    )
    place, power = torch.arange(3.0)[:, None], 10000 ** (-torch.arange(4.0) / 3)
    assert torch.allclose(x[1, :, :4], torch.sin(place * power), atol=1e-6)
    assert torch.allclose(x[1, 0, 12:], torch.cos(power), atol=1e-6)


def test_images_of_another_size_and_patches_that_do_not_fit_are_refused():
    made = by.build("vit", dim=16, layers=1, **SHAPE)
    with pytest.raises(UsageError, match="8 x 12 x 3 numbers"):
        made(by.Batch(torch.zeros(1, 12, 8, 3)))
    with pytest.raises(UsageError, match="divide"):
        by.build("vit", dim=16, layers=1, **SHAPE | dict(patch=5))


def test_a_class_token_sees_all_and_is_refused_where_it_could_not():
    made = with_token(dim=16, layers=1)
    before, after = made(by.Batch(images(1))), made(by.Batch(images(1).index_fill(2, torch.tensor([11]), 0.0)))
    assert (before.prediction["classes"] - after.prediction["classes"]).abs().max() > 1e-5
    plain = by.spec("vit", dim=16, layers=1, **SHAPE)
    with pytest.raises(UsageError, match="must see what follows"):
        by.build(plain.but(model=plain["model"].but(**TOKEN, causal=True)))
    with pytest.raises(UsageError, match="this stem has none"):
        by.build(plain.but(model=plain["model"].but(head=TOKEN["head"])))


def test_scores_and_gradients_are_those_of_transformers(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, image_size=(8, 12),
        patch_size=4, num_channels=3, num_labels=5,
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = transformers.ViTForImageClassification(config).eval()
    with torch.no_grad():
        for p in theirs.parameters():
            p.add_(0.2 * torch.randn(p.shape))
    theirs.save_pretrained(tmp_path)
    ours = with_token(dim=32, layers=2, heads=4, ffn=48)
    ours.load_state_dict(by.load(tmp_path).state_dict())  # all of them, no other
    batch, labels = images(3), torch.tensor([0, 4, 2])
    expected = theirs(batch.permute(0, 3, 1, 2)).logits
    said = ours(by.Batch(batch)).prediction["classes"]
    assert expected.std() > 0.1 and (said - expected).abs().max() < 1e-4
    for each in (expected, said):
        cross_entropy(each, labels).backward()
    wanted = theirs.vit.embeddings.patch_embeddings.projection.weight.grad.permute(0, 2, 3, 1).flatten(1)
    assert (ours.stem.proj.weight.grad - wanted).abs().max() < 1e-4 * wanted.abs().max().clamp(min=1)
