"""A model leaves and is the same: in our own reader to the last bit, in transformers within the rounding of sums."""

import json
import random

import pytest
import torch
from safetensors.torch import load_file

import blockyard as by
from blockyard import UsageError
from blockyard.core.spec import activation, norm, pattern
from blockyard.interop.counterpart import counterpart
from blockyard.interop.folder import load, model_types, names_of
from blockyard.interop.out import transformers as form
from tests.interop import drawn, drawn_mixed
from tests.interop.conftest import built, precision, scored, shake

transformers = pytest.importorskip("transformers")
DRAWN = vars(drawn) | vars(drawn_mixed)
FAMILIES = [name for name in model_types() if name in DRAWN]
SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 16))]
RECIPES = ["llama", "gpt2", "mamba", "mamba2", "olmo_hybrid"]


def tokens(rows=2, length=11):
    return torch.randint(1, 37, (rows, length), generator=torch.Generator().manual_seed(0))


def trained(name, **overrides):
    """A small model of a recipe with numbers that no start has: every bias and gain counts."""
    model = by.build(name, size="tiny", vocab=37, dim=32, **overrides)
    shake(model)
    return model.eval()


def opened(folder, dtype=None, **more):
    """The folder as transformers opens it; every tensor is found and none is left over."""
    model, told = transformers.AutoModelForCausalLM.from_pretrained(
        folder, output_loading_info=True, dtype=dtype or "auto", **more
    )
    assert not told["missing_keys"] and not told["unexpected_keys"] and not told["mismatched_keys"], told
    return model.eval()


def eager(model):
    """Experts by products that double precision has."""
    return {"experts_implementation": "eager"} if "experts" in str([name for name, _ in model.named_modules()]) else {}


@torch.no_grad()
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_in_and_out_and_in_again(family, seed, tmp_path):
    """Their tensors come back to the last bit, and the config means the same spec and the same scores of theirs."""
    try:
        theirs = built(family, torch.float64, DRAWN[family](random.Random(f"{family} out {seed}")))
    except ZeroDivisionError:
        pytest.skip("their dynamic positions know no head of one pair")
    theirs.save_pretrained(tmp_path / "in")
    ours = load(tmp_path / "in")
    by.export(ours, to=f"transformers:{family}", out=tmp_path / "out")
    stored = ((names_of(tmp_path / at), load_file(tmp_path / at / "model.safetensors")) for at in ("in", "out"))
    first, last = (names.canonical(tensors) for names, tensors in stored)
    assert first.keys() - last.keys() <= {"lm_head.weight"} and not last.keys() - first.keys()
    assert all(torch.equal(first[name], tensor) for name, tensor in last.items())
    again = load(tmp_path / "out")
    assert again.spec.hash == ours.spec.hash
    assert torch.equal(again(tokens()).logits, ours(tokens()).logits)
    with precision(torch.float64):
        back = opened(tmp_path / "out", torch.float64, **eager(theirs))
    assert (scored(back, tokens()) - scored(theirs, tokens())).abs().max() <= 1e-12
    assert json.loads((tmp_path / "out" / "config.json").read_text())["architectures"] == [type(theirs).__name__]


@torch.no_grad()
@pytest.mark.parametrize("name", RECIPES)
def test_what_we_trained_opens_there(name, tmp_path):
    model = trained(name)
    done = by.export(model, to="transformers", out=tmp_path / "out")
    assert done.told == {"model_type": name}
    assert (scored(opened(tmp_path / "out"), tokens()) - model(tokens()).logits).abs().max() <= 1e-4
    own = dict(model.named_parameters())
    assert all(torch.equal(p, own[path]) for path, p in load(tmp_path / "out").named_parameters())
    wide = model.double()
    by.export(wide, to="transformers", out=tmp_path / "wide")
    with precision(torch.float64):
        theirs = opened(tmp_path / "wide", torch.float64)
    assert (scored(theirs, tokens()) - wide(tokens()).logits).abs().max() <= 1e-9


@torch.no_grad()
@pytest.mark.parametrize("overrides", [
    {"heads": 4, "kv_heads": 2, "tied": False}, {"mixer.position": "llama3"}, {"mixer.position": "yarn"},
    {"mixer.head_dim": 6, "ffn": 11}, {"channel.activation": activation("gelu_exact")},
    {"mixer.pattern": pattern("band", window=3)}, {"mixer.norm_all": norm("rms", eps=1e-5)},
], ids=lambda each: "-".join(each))  # fmt: skip
def test_variants_find_their_family_or_become_our_own(overrides, tmp_path):
    """Settings that were left out, and others: what opens there says the same, whatever class it has become."""
    import blockyard.interop.auto  # noqa: F401

    model = trained("llama", **overrides)
    by.export(model, to="transformers", out=tmp_path / "out")
    assert (scored(opened(tmp_path / "out"), tokens()) - model(tokens()).logits).abs().max() <= 1e-4
    assert torch.equal(load(tmp_path / "out")(tokens()).logits, model(tokens()).logits)


@torch.no_grad()
@pytest.mark.parametrize("name", ["hybrid_linear_attention", "gla", "llama"])
def test_our_own_class_generates_as_we_do(name, tmp_path):
    """From a state, from nothing each time, with beams, and with rows of several lengths."""
    import blockyard.interop.auto  # noqa: F401

    model = trained(name)
    by.export(model, to="transformers:blockyard", out=tmp_path / "out")
    theirs, text = opened(tmp_path / "out"), tokens()
    assert torch.equal(theirs(text).logits, model(text).logits)
    greedy = dict(max_new_tokens=6, do_sample=False, pad_token_id=0)
    found = theirs.generate(text, **greedy)
    steps = [step.tokens for step in by.generate(model, text, 6, by.SamplingParams(temperature=0))]
    assert found[:, text.shape[1] :].tolist() == torch.stack([torch.as_tensor(step) for step in steps], 1).tolist()
    assert torch.equal(found, theirs.generate(text, use_cache=False, **greedy))
    beams = [theirs.generate(text, num_beams=3, use_cache=cached, **greedy) for cached in (True, False)]
    assert torch.equal(*beams)
    padded = torch.cat([torch.zeros(2, 3, dtype=torch.long), text], 1)
    mask = (padded != 0).long()
    assert torch.equal(theirs.generate(padded, attention_mask=mask, **greedy)[:, 3:], found)
    loss = theirs(text, labels=text).loss
    expected = torch.nn.functional.cross_entropy(model(text).logits[:, :-1].flatten(0, 1), text[:, 1:].flatten())
    assert torch.allclose(loss, expected)


def test_our_own_class_comes_back_and_is_saved_there(tmp_path):
    import blockyard.interop.auto  # noqa: F401

    model = trained("gla")
    told = by.export(model, to="transformers", out=tmp_path / "one").told
    assert told["model_type"] == "blockyard" and "of transformers" in told["why"]
    opened(tmp_path / "one").save_pretrained(tmp_path / "two")
    for folder in ("one", "two"):
        again = load(tmp_path / folder)
        assert again.spec == model.spec and torch.equal(again(tokens()).logits, model(tokens()).logits)


def test_large_models_leave_in_several_files(tmp_path, monkeypatch):
    monkeypatch.setattr(form, "SHARD_BYTES", 8 << 10)
    model = trained("llama")
    by.export(model, to="transformers", out=tmp_path / "out")
    assert len(list((tmp_path / "out").glob("*.safetensors"))) > 2
    assert (scored(opened(tmp_path / "out"), tokens()) - model(tokens()).logits).abs().max() <= 1e-4
    assert torch.equal(load(tmp_path / "out")(tokens()).logits, model(tokens()).logits)


def test_what_a_named_family_cannot_say_is_refused_by_the_first_difference(tmp_path):
    for name, overrides, family, why in [
        ("llama", {"mixer.norm_all": "rms"}, "llama", r"steps.0.part.q_all.*is not there"),
        ("llama", {"mixer.position": "alibi"}, "llama", "position"),
        ("gla", {}, "llama", "num_attention_heads is missing"),
        ("mamba2", {}, "mamba", "mixer:mamba2 here and mixer:mamba there"),
        ("llama", {"mixer.pattern": "band"}, "llama", "pattern"),
    ]:
        with pytest.raises(UsageError, match=why):
            by.export(by.build(name, size="tiny", **overrides), to=f"transformers:{family}", out=tmp_path / "out")
    with pytest.raises(UsageError, match="llama"):
        by.export(by.build("llama", size="tiny"), to="transformers:lama", out=tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_config_that_would_mean_another_model_is_never_written(monkeypatch):
    """One wrong word, and the reader's model differs: the check does not trust the words."""
    from blockyard.interop import words

    model = trained("llama")
    for word, wrong in [("rms_norm_eps", 1e-3), ("tie_word_embeddings", False), ("num_key_value_heads", 7)]:
        with monkeypatch.context() as patched, pytest.raises(UsageError, match="no llama"):
            patched.setitem(words.WORDS, word, lambda told, wrong=wrong: wrong)
            counterpart(model, "llama")


def test_quantised_models_are_refused(tmp_path):
    small, _ = by.quantise(trained("llama"), 8)
    with pytest.raises(UsageError, match="quantised"):
        by.export(small, to="transformers", out=tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_nothing_of_anybody_is_touched_and_nothing_half_remains(tmp_path, monkeypatch):
    model, place = trained("llama"), tmp_path / "mine"
    place.mkdir()
    (place / "note.txt").write_text("keep me")
    for taken in (place, place / "note.txt"):
        with pytest.raises(UsageError, match="there already"):
            by.export(model, to="transformers", out=taken)
    assert (place / "note.txt").read_text() == "keep me"
    monkeypatch.setattr(form, "save", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        by.export(model, to="transformers", out=tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    with pytest.raises(UsageError, match="form"):
        by.export(model, to="transformer", out=tmp_path / "out")


@pytest.mark.parametrize("to", ["transformers", "transformers:blockyard"])
def test_words_and_defaults_of_generation_leave_too(to, tmp_path):
    import blockyard.interop.auto  # noqa: F401
    from blockyard.data.tokens import Bpe

    codec, said = Bpe.train([b"the cat sat on the mat " * 50], 300), {"eos_token_id": 7, "temperature": 0.5}
    by.build("llama", size="tiny", vocab=codec.vocab).save(tmp_path / "ours", tokenizer=codec.to_json())
    by.export(tmp_path / "ours", to="transformers", out=tmp_path / "one")
    (tmp_path / "one" / "generation_config.json").write_text(json.dumps(said | {"do_sample": True}))
    by.export(tmp_path / "one", to=to, out=tmp_path / "two")
    words = transformers.AutoTokenizer.from_pretrained(tmp_path / "two")
    text = "the cat é"
    ids = words(text)["input_ids"]
    assert ids == [int(each) for each in codec.encode(text)] and words.decode(ids) == text
    model = opened(tmp_path / "two")
    assert {name: getattr(model.generation_config, name) for name in said} == said
