"""Encoders, pyramids and encoders with a decoder, read from folders, against transformers."""

import json
import random
import warnings

import pytest
import torch
from conftest import precision
from encoder_cases import FAMILIES, answers, both, drawn, heard, made, opened
from test_oracles import ODD, settings_read

from blockyard import Batch, UsageError
from blockyard.interop import load

SEEDS = [*range(3), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 20))]
LIMITS = {torch.float32: 1e-4, torch.float64: 1e-9}
pytest.importorskip("transformers")


@torch.no_grad()
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_said_agrees_with_transformers(family, seed, tmp_path):
    for dtype, limit in LIMITS.items():
        name, settings = drawn(family, seed)
        theirs = made(name, settings, dtype)
        ours = opened(theirs, tmp_path / str(dtype))
        assert {p.dtype for p in ours.parameters()} == {dtype}
        wanted, got = answers(theirs, ours, seed)
        assert wanted.shape == got.shape
        assert wanted.std() > 0.01, "a model that says nothing proves nothing"
        assert (wanted - got).abs().max() <= limit, (name, settings)


# one class of every map, and the heads that read settings of their own
FLIPPED = {
    "Bert": ("MaskedLM", 0), "Roberta": ("SequenceClassification", 0), "Electra": ("MaskedLM", 0),
    "Albert": ("MaskedLM", 0), "DistilBert": ("SequenceClassification", 0), "ModernBert": ("SequenceClassification", 3),
    "ViT": ("ImageClassification", 0), "Swin": ("ImageClassification", 2), "ConvNext": ("ImageClassification", 0),
    "T5": ("ConditionalGeneration", 0), "Whisper": ("ConditionalGeneration", 0),
}  # fmt: skip


def flipped(kind):
    """(class, settings) of the first drawn case of this class."""
    task, first = FLIPPED[kind]
    cases = (drawn(kind.lower(), seed) for seed in range(first, 99))
    return next((name, settings) for name, settings in cases if name == f"{kind}For{task}")


def nearby(value):
    """Other values of the same kind."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        return [value + 1, value * 2, value / 2 if isinstance(value, float) else max(1, value // 2)]
    if isinstance(value, list) and value and all(isinstance(each, int) for each in value):
        return [value[::-1], [each + 1 for each in value], [each * 2 for each in value], value[:-1]]
    if isinstance(value, list):
        return [value[::-1]]
    if isinstance(value, dict):
        return [{**value, key: other} for key, held in value.items() for other in nearby(held)]
    return []


@torch.no_grad()
@pytest.mark.parametrize("kind", FLIPPED)
@pytest.mark.parametrize("share", [0.03, pytest.param(1.0, marks=pytest.mark.slow)])
def test_a_setting_is_read_as_theirs_reads_it_or_refused(kind, share, tmp_path):
    """One setting at a time to another value: where both libraries load the folder, they say the same."""
    name, settings = flipped(kind)
    theirs = made(name, settings, torch.float32)
    opened(theirs, tmp_path)
    path = tmp_path / "config.json"
    config, draw = json.loads(path.read_text()), random.Random(7)
    skipped = {"model_type", "architectures", "dtype", "transformers_version", "id2label", "label2id"}
    odd = [(each, value) for each in settings_read(kind) for value in ODD]
    near = [(each, value) for each, held in config.items() if each not in skipped for value in nearby(held)]
    tried = draw.sample(odd, int(share * len(odd))) + draw.sample(near, int(min(1, 5 * share) * len(near)))
    for each, value in tried:
        path.write_text(json.dumps(config | {each: value}))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ours = load(tmp_path)
        except UsageError as error:
            assert str(error).count("\n") < 2
            continue
        try:
            other = type(theirs).from_pretrained(tmp_path, dtype=torch.float32, ignore_mismatched_sizes=False).eval()
            out = heard(other)
        except Exception:  # they refuse in many ways
            continue
        wanted, got = both(other, out, ours)
        assert wanted.shape == got.shape, (each, value)
        assert torch.allclose(wanted, got, atol=1e-4), (each, value)


@torch.no_grad()
def test_pixels_are_scaled_as_the_folder_says(tmp_path):
    """A picture in [0,1] gives what theirs says of what their processor makes of its bytes."""
    from transformers import ViTImageProcessor

    theirs = made("ViTForImageClassification", flipped("ViT")[1] | dict(num_channels=3), torch.float64)
    plain, (height, width) = opened(theirs, tmp_path), theirs.config.image_size
    processor = ViTImageProcessor(
        size=dict(height=height, width=width), image_mean=[0.5, 0.4, 0.3], image_std=[0.2, 0.3, 0.4]
    )
    draw = torch.Generator().manual_seed(0)
    picture = torch.randint(0, 256, (2, height, width, 3), generator=draw, dtype=torch.uint8)
    processor.save_pretrained(tmp_path)
    with precision(torch.float64):
        given = (picture.double() / 255 - torch.tensor([0.5, 0.4, 0.3])) / torch.tensor([0.2, 0.3, 0.4])
        wanted = theirs(given.permute(0, 3, 1, 2)).logits
        said = load(tmp_path)(Batch(picture.double() / 255)).prediction["classes"]
    assert (wanted - said).abs().max() < 1e-9
    assert (plain(Batch(picture.double() / 255)).prediction["classes"] - said).abs().max() > 1e-2
    made_by_them = processor(list(picture.numpy()), return_tensors="pt")["pixel_values"]
    assert (made_by_them.permute(0, 2, 3, 1) - given).abs().max() < 1e-5  # so it means what we took it to mean


PLAIN = dict(do_normalize=True, image_mean=[0.5], image_std=[0.5], do_rescale=True, rescale_factor=1 / 255)


@pytest.mark.parametrize(
    "change, words",
    [
        (dict(size=dict(height=7, width=12)), "the model reads images of 8 x 12"),
        (dict(size=dict(shortest_edge=8)), "the model reads images of 8 x 12"),
        (dict(size=dict(height=30, width=30), do_center_crop=True, crop_size=[8, 9]), "crop_size"),
        (dict(size="large"), "expected a height and a width"),
        (dict(image_mean=[0.1, 0.2]), "expected a number for each of 1 channels"),
        (dict(image_mean=None), "image_mean"),
        (dict(image_std=[0.0]), "other than zero"),
        (dict(do_rescale="yes"), "true or false"),
        (dict(do_pad=True), "do_pad"),
        (dict(do_flip_channel_order=True), "do_flip_channel_order"),
    ],
)
def test_pixels_that_cannot_be_made_are_refused(change, words, tmp_path):
    opened(made("ViTModel", dict(hidden_size=4, num_hidden_layers=1, num_attention_heads=1, intermediate_size=4)
                | dict(patch_size=4, image_size=[8, 12], num_channels=1), torch.float32), tmp_path)  # fmt: skip
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps(PLAIN | dict(size=dict(height=8, width=12))))
    with pytest.warns(UserWarning, match="vit.pooler.dense.bias, vit.pooler.dense.weight left out"):
        load(tmp_path)
    path.write_text(json.dumps(PLAIN | change))
    with pytest.raises(UsageError, match=words):
        load(tmp_path)
    path.write_text("{}x")
    with pytest.raises(UsageError, match="is damaged: it is not a JSON object"):
        load(tmp_path)
