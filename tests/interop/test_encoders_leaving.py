"""Encoders leave as the classes that they came from, and models of our recipes as the classes of the same wiring."""

import json
import warnings

import pytest
import torch
from safetensors.torch import load_file

import blockyard as by
from blockyard import UsageError
from blockyard.core.batch import Batch
from blockyard.interop.folder import load
from tests.interop.conftest import precision, shake
from tests.interop.encoder_cases import FAMILIES, answers, drawn, made, opened

transformers = pytest.importorskip("transformers")
SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 12))]
# rows of RoBERTa's table before the first position, and what pools the first token where no head reads it
LOST = ("position_embeddings", "pooler", "mask_token")


def there(folder, dtype=None):
    """The folder as transformers opens it, and which tensors it did not find in it."""
    (name,) = json.loads((folder / "config.json").read_text())["architectures"]
    with warnings.catch_warnings(), precision(dtype or torch.float32):
        warnings.simplefilter("ignore")
        model, told = getattr(transformers, name).from_pretrained(folder, output_loading_info=True, dtype=dtype)
    assert not told["unexpected_keys"] and not told["mismatched_keys"], told
    return model.eval(), set(told["missing_keys"])


@torch.no_grad()
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_in_and_out_and_in_again(family, seed, tmp_path):
    name, settings = drawn(family, seed)
    theirs = made(name, settings, torch.float64)
    ours = opened(theirs, tmp_path / "in")
    by.export(ours, to=f"transformers:{family}", out=tmp_path / "out")
    again = load(tmp_path / "out")
    assert again.spec.hash == ours.spec.hash
    assert all(torch.equal(p, dict(again.named_parameters())[path]) for path, p in ours.named_parameters())
    first, last = ({name.removeprefix(f"{theirs.base_model_prefix}."): tensor for name, tensor in held.items()}
                   for held in (load_file(tmp_path / at / "model.safetensors") for at in ("in", "out")))  # fmt: skip
    assert all(torch.equal(first[name], x) for name, x in last.items() if family != "roberta" or LOST[0] not in name)
    assert all(any(word in name for word in LOST[1:]) for name in first.keys() - last.keys()), (
        first.keys() - last.keys()
    )
    back, missing = there(tmp_path / "out", torch.float64)
    assert all(any(word in name for word in LOST[1:]) for name in missing), missing
    wanted, got = answers(theirs, again, seed)
    assert (wanted - got).abs().max() <= 1e-9
    assert type(back) is type(theirs) and (answers(back, again, seed)[0] - wanted).abs().max() <= 1e-12


OWN = {
    "bert": ("BertForMaskedLM", {}),
    "albert": ("AlbertForMaskedLM", {}),
    "swin": ("SwinForImageClassification", {"layers": 4, "shallow": 2}),
    "convnext": ("ConvNextForImageClassification", {"kernel": 7, "height": 16, "width": 16}),
}


@torch.no_grad()
@pytest.mark.parametrize("recipe", OWN)
def test_models_of_our_recipes_open_there(recipe, tmp_path):
    name, settings = OWN[recipe]
    model = by.build(recipe, size="tiny", **settings).eval()
    shake(model)
    told = by.export(model, to="transformers", out=tmp_path / "out").told
    assert "why" not in told, told
    theirs, missing = there(tmp_path / "out")
    assert type(theirs).__name__ == name and not missing
    batch = model.example(2, 12, torch.Generator().manual_seed(0))
    given = batch.tokens.permute(0, 3, 1, 2) if batch.tokens.dim() == 4 else batch.tokens
    (said,) = model(batch).prediction.values()
    assert (theirs(given).logits - said).abs().max() <= 1e-4


@torch.no_grad()
@pytest.mark.parametrize("recipe", ["bert", "vit", "convnext"])
def test_what_no_class_of_theirs_says_becomes_our_own(recipe, tmp_path):
    import blockyard.interop.auto  # noqa: F401

    settings = {"bert": {"mixer.position": "rope"}}.get(recipe, {})
    model = by.build(recipe, size="tiny", **settings).eval()
    told = by.export(model, to="transformers", out=tmp_path / "out").told
    assert told["model_type"] == "blockyard" and "of transformers" in told["why"]
    theirs = transformers.AutoModel.from_pretrained(tmp_path / "out").eval()
    batch = model.example(2, 12, torch.Generator().manual_seed(0))
    again = load(tmp_path / "out")(batch).prediction
    for name, value in model(batch).prediction.items():
        assert torch.equal(theirs(batch.tokens)[name], value) and torch.equal(again[name], value)
    if recipe == "bert":
        mask = torch.arange(12) < torch.tensor([[12], [7]])
        found = theirs(batch.tokens, attention_mask=mask.long())["logits"][mask]
        assert torch.equal(found, model(Batch(batch.tokens, valid=mask)).logits[mask])


def test_a_class_that_cannot_say_it_is_refused_by_the_first_difference(tmp_path):
    for recipe, settings, family, why in [
        ("bert", {"mixer.position": "rope"}, "bert", "position"),
        ("convnext", {}, "convnext", "kernel"),
        ("llama", {}, "bert", "no Bert"),
    ]:
        with pytest.raises(UsageError, match=why):
            by.export(by.build(recipe, size="tiny", **settings), to=f"transformers:{family}", out=tmp_path / "out")
    model = by.build("bert", size="tiny", **{"stem.kinds": 1})  # which theirs does not add
    with pytest.raises(UsageError, match=r"stem\.kind does not come back"):
        by.export(model, to="transformers:distilbert", out=tmp_path / "out")
    assert not list(tmp_path.iterdir())
