"""Encoders, pyramids and encoders with a decoder, read from folders, against transformers."""

import json
import random
import warnings

import pytest
import torch

from blockyard import Batch, UsageError
from blockyard.interop import load
from tests.interop.conftest import precision, settings_read
from tests.interop.encoder_cases import FAMILIES, answers, both, drawn, heard, made, opened
from tests.interop.test_oracles import ODD

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
@pytest.mark.parametrize("share", [0.01, pytest.param(1.0, marks=pytest.mark.slow)])
def test_a_setting_is_read_as_theirs_reads_it_or_refused(kind, share, tmp_path):
    """One setting at a time to another value: where both libraries load the folder, they say the same."""
    name, settings = flipped(kind)
    theirs = made(name, settings, torch.float32)
    opened(theirs, tmp_path)
    path = tmp_path / "config.json"
    config, draw = json.loads(path.read_text()), random.Random(7)
    skipped = {"model_type", "architectures", "dtype", "transformers_version", "id2label", "label2id"}
    odd = [(each, value) for each in settings_read(theirs.config.model_type) for value in ODD]
    near = [(each, value) for each, held in config.items() if each not in skipped for value in nearby(held)]
    tried = draw.sample(odd, int(share * len(odd))) + draw.sample(near, int(min(1, 10 * share) * len(near)))
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
    with pytest.warns(UserWarning, match=r"vit\.pooler\.dense\.bias, vit\.pooler\.dense\.weight left out"):
        load(tmp_path)
    path.write_text(json.dumps(PLAIN | change))
    with pytest.raises(UsageError, match=words):
        load(tmp_path)
    path.write_text("{}x")
    with pytest.raises(UsageError, match="is damaged: it is not a JSON object"):
        load(tmp_path)


SMALL = dict(hidden_size=6, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8, vocab_size=30)
SMALL |= dict(max_position_embeddings=20, pad_token_id=0)
SPECIAL = ("sep_token_id", "cls_token_id", "bos_token_id", "eos_token_id")
IMAGE = dict(image_size=16, patch_size=2, num_channels=1)
BASES = {
    "BertForMaskedLM": SMALL, "RobertaForMaskedLM": SMALL | dict(pad_token_id=1),
    "AlbertForMaskedLM": SMALL | dict(embedding_size=4),
    "ModernBertForMaskedLM": SMALL | dict(hidden_size=8) | dict.fromkeys(SPECIAL, 0),
    "ViTForImageClassification": {key: SMALL[key] for key in list(SMALL)[:4]} | IMAGE,
    "SwinForImageClassification": IMAGE | dict(embed_dim=4, depths=[2, 1], num_heads=[1, 2], window_size=4),
    "ConvNextForImageClassification": IMAGE | dict(num_stages=2, hidden_sizes=[4, 6], depths=[1, 1]),
    "T5ForConditionalGeneration": dict(vocab_size=30, d_model=6, d_kv=3, d_ff=8, num_layers=1, num_heads=2),
}  # fmt: skip


@pytest.mark.parametrize(
    "name, change, words",
    [
        (
            "BertForMaskedLM",
            dict(architectures=["BertForNextSentencePrediction"]),
            "known are BertModel",
        ),
        ("BertForMaskedLM", dict(architectures=None), "architectures=None"),
        ("BertForMaskedLM", dict(architectures=["BertForMaskedLM", "BertModel"]), "architectures"),
        ("BertForMaskedLM", dict(architectures=["BertModel"]), "cls.predictions"),
        ("BertForMaskedLM", dict(tie_word_embeddings=False), "tie_word_embeddings"),
        ("BertForMaskedLM", dict(is_decoder=True), "is_decoder"),
        ("BertForMaskedLM", dict(is_causal=True), "is_causal"),
        ("BertForMaskedLM", dict(position_embedding_type="relative_key"), "position_embedding_type"),
        ("BertForMaskedLM", dict(num_hidden_layers=4000), "the weights have 2 layers"),
        ("BertForMaskedLM", dict(num_attention_heads=4), "heads=4"),
        ("RobertaForMaskedLM", dict(pad_token_id=None), "pad_token_id"),
        ("RobertaForMaskedLM", dict(pad_token_id=19), "pad_token_id"),
        ("AlbertForMaskedLM", dict(num_hidden_groups=2), "num_hidden_groups"),
        ("AlbertForMaskedLM", dict(inner_group_num=2), "inner_group_num"),
        ("ModernBertForMaskedLM", dict(layer_types=["full_attention"]), "layer_types"),
        ("ModernBertForMaskedLM", dict(rope_parameters={"full_attention": {"rope_type": "yarn"}}), "rope_param"),
        ("ModernBertForMaskedLM", dict(rope_parameters={"rope_theta": 10.0}), "rope_parameters"),
        ("ModernBertForMaskedLM", dict(norm_bias=True), "model.final_norm.bias"),
        ("ModernBertForMaskedLM", dict(decoder_bias=False), "decoder_bias"),
        ("ViTForImageClassification", dict(patch_size=[2, 4]), "square patches"),
        ("ViTForImageClassification", dict(image_size="large"), "one or two whole numbers"),
        ("ViTForImageClassification", dict(id2label={"0": "cat"}), "classifier.weight"),
        ("ViTForImageClassification", dict(id2label=[]), "id2label"),
        ("SwinForImageClassification", dict(window_size=9), "window_size.*grid of stage 1 is 8 x 8"),
        ("SwinForImageClassification", dict(depths=[1, 1]), "even number"),
        ("SwinForImageClassification", dict(depths=[2, 10**9]), "the weights have 2 layers"),
        ("SwinForImageClassification", dict(image_size=[16, 14]), "image_size.*7"),
        ("SwinForImageClassification", dict(use_absolute_embeddings=True), "use_absolute_embeddings"),
        ("SwinForImageClassification", dict(num_heads=[1]), "num_heads.*2 of them"),
        ("SwinForImageClassification", dict(mlp_ratio=0.1), "mlp_ratio"),
        ("ConvNextForImageClassification", dict(layer_scale_init_value=0.0), "layer_scale_init_value"),
        ("ConvNextForImageClassification", dict(num_stages=3), "num_stages"),
        ("ConvNextForImageClassification", dict(hidden_sizes=[4, 0]), "hidden_sizes"),
        ("T5ForConditionalGeneration", dict(feed_forward_proj="gated-mish"), "feed_forward_proj"),
        ("T5ForConditionalGeneration", dict(feed_forward_proj="gated-gelu"), "is_gated_act"),
        ("T5ForConditionalGeneration", dict(is_encoder_decoder=False), "is_encoder_decoder"),
        ("T5ForConditionalGeneration", dict(is_causal=True), "is_causal"),
        ("T5ForConditionalGeneration", dict(num_decoder_layers=7), "num_decoder_layers.*the weights have 1 layers"),
    ],
)
def test_what_is_not_understood_is_refused(name, change, words, tmp_path):
    opened(made(name, BASES[name], torch.float32), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UsageError, match=words) as caught:
        load(tmp_path)
    assert str(caught.value).count("\n") < 2


def rewritten(folder, change):
    """The folder with its tensors (name -> tensor) changed in place."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")


@torch.no_grad()
def test_an_early_checkpoint_of_bert_is_read(tmp_path):
    """As the first ones were: other names of gains, and heads beside that nobody asks."""
    theirs = made("BertForMaskedLM", SMALL, torch.float32)
    opened(theirs, tmp_path)

    def older(tensors):
        for name in [name for name in tensors if "LayerNorm" in name]:
            other = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
            tensors[other] = tensors.pop(name)
        tensors["bert.embeddings.position_ids"] = torch.arange(20)[None]
        tensors["bert.pooler.dense.weight"], tensors["cls.seq_relationship.bias"] = torch.ones(6, 6), torch.ones(2)
        tensors["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"].clone()
        tensors["cls.predictions.decoder.bias"] = tensors["cls.predictions.bias"].clone()

    rewritten(tmp_path, older)
    with pytest.warns(UserWarning, match=r"bert\.pooler\.dense\.weight, cls\.seq_relationship\.bias left out"):
        ours = load(tmp_path)
    wanted, got = answers(theirs, ours)
    assert (wanted - got).abs().max() <= 1e-4
    rewritten(tmp_path, lambda tensors: tensors.pop("cls.predictions.bias"))  # its copy stands in for it
    with pytest.warns(UserWarning, match="left out"):
        assert torch.equal(load(tmp_path).head.bias, ours.head.bias)
    rewritten(tmp_path, lambda tensors: tensors.update({"cls.predictions.decoder.weight": torch.zeros(30, 6)}))
    with pytest.raises(UsageError, match=r"tie_word_embeddings is true, but cls\.predictions\.decoder\.weight is not"):
        load(tmp_path)


def test_every_tensor_is_used_and_every_parameter_filled(tmp_path):
    for name, gone in (
        ("SwinForImageClassification", "swin.encoder.layers.0.downsample.norm.bias"),
        ("T5ForConditionalGeneration", "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"),
        ("AlbertForMaskedLM", "albert.encoder.embedding_hidden_mapping_in.bias"),
    ):
        folder = tmp_path / name
        opened(made(name, BASES[name], torch.float32), folder)
        rewritten(folder, lambda tensors: tensors.update({"stray.weight": torch.ones(2)}))
        with pytest.raises(UsageError, match=r"stray\.weight, which config.json does not explain"):
            load(folder)
        rewritten(folder, lambda tensors, gone=gone: (tensors.pop("stray.weight"), tensors.pop(gone)))
        with pytest.raises(UsageError, match=f"{gone} missing"):
            load(folder)


def test_the_verbs_work_on_an_encoder_or_refuse_it(tmp_path, capsys):
    from tokenizers import Tokenizer, models, pre_tokenizers

    from blockyard.cli import main

    words, images = str(tmp_path / "words"), str(tmp_path / "images")
    opened(made("BertForMaskedLM", SMALL | dict(vocab_size=300), torch.float32), words)
    opened(made("ViTForImageClassification", BASES["ViTForImageClassification"], torch.float32), images)
    for folder in (words, images):
        assert main(["transform", folder, "lora:rank=2", "--out", f"{folder}-lora"]) == 0
        assert main(["quantise", folder, "--out", f"{folder}-small"]) == 0
        load(f"{folder}-lora"), load(f"{folder}-small")
    letters = {letter: i for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=letters, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.save(f"{words}/tokenizer.json")
    (tmp_path / "x.txt").write_text("the cat sat on the mat. " * 60)
    capsys.readouterr()
    for asked, said in (
        (["eval", words, "--data", str(tmp_path / "x.txt")], "causal"),
        (["eval", images, "--data", str(tmp_path / "x.txt")], "no tokenizer.json"),
        (["generate", words, "--prompt", "the"], "only a causal one writes"),
    ):
        assert main(asked) == 2
        told = capsys.readouterr().err
        assert said in told and "Traceback" not in told and told.count("\n") <= 2, (asked, told)
    assert main(["show", images]) == 0 and "vit, as transformers saves it" in capsys.readouterr().out
