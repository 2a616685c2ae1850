"""A file for llama.cpp: read by others it holds the same numbers, and what llama.cpp runs says the same."""

import numpy as np
import pytest
import torch

import blockyard as by
from blockyard import UsageError
from blockyard.core.spec import norm, pattern, position
from blockyard.interop.folder import load
from blockyard.interop.out import gguf as form
from tests.interop.conftest import built
from tests.interop.gguf_cases import CASES

transformers = pytest.importorskip("transformers")
gguf = pytest.importorskip("gguf")
# what transformers reads of such a file, and whether it reads all settings of it too
READ = {
    "llama": True, "llama wide heads": True, "qwen2": True, "mamba": True, "qwen3": False, "gpt2": False,
    "gemma2": False, "phi3": False,
}  # fmt: skip


def made(name, folder):
    """The model of a case as ours."""
    kind, settings = CASES[name]
    built(kind, torch.float32, settings).save_pretrained(folder)
    return load(folder).eval()


def text(length=19):
    return torch.randint(1, 37, (1, length), generator=torch.Generator().manual_seed(0))


def opened(path, **more):
    """The file as llama.cpp opens it, with caches in single precision."""
    lib = pytest.importorskip("llama_cpp")
    how = dict(n_ctx=64, logits_all=True, verbose=False, n_threads=1, n_threads_batch=1, type_k=0, type_v=0)
    return lib.Llama(str(path), **how, **more)


def scores(there, ids):
    there.reset()
    there.eval(ids)
    return torch.from_numpy(np.array(there.scores[: len(ids)]))


def bound(name):
    """How far scores may be, of the largest: GELU has a table in half precision there."""
    return 3e-3 if CASES[name][0].startswith(("gpt", "gemma")) else 1e-5


def stored(path):
    """The settings and the tensors of a file, as its own library reads them; tensors in single precision."""
    reader = gguf.GGUFReader(path)
    tensors = {
        each.name: torch.from_numpy(gguf.dequantize(each.data, each.tensor_type).copy()) for each in reader.tensors
    }
    kinds = {each.name: each.tensor_type.name for each in reader.tensors}
    return {name: field.contents() for name, field in reader.fields.items()}, tensors, kinds


@torch.no_grad()
@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_llama_cpp_says_the_same(name, tmp_path):
    """Scores of every token, and the likeliest ones from there on."""
    model = made(name, tmp_path / "in")
    by.export(model, to="gguf", out=tmp_path / "x.gguf")
    there, ids = opened(tmp_path / "x.gguf", yarn_beta_fast=-1.0, yarn_beta_slow=-1.0), text()
    expected = model(ids).logits[0]
    found = scores(there, ids[0].tolist())
    assert (found - expected).abs().max() <= bound(name) * expected.abs().max()
    greedy = [int(step.tokens[0]) for step in by.generate(model, ids, 12, by.SamplingParams(temperature=0))]
    written, last = [], found[-1]
    for _ in greedy:
        written.append(int(last.argmax()))
        there.eval(written[-1:])
        last = torch.from_numpy(np.array(there.scores[there.n_tokens - 1]))
    assert written == greedy


@torch.no_grad()
@pytest.mark.slow
@pytest.mark.parametrize("name", READ)
def test_transformers_reads_the_same_model_of_it(name, tmp_path):
    """Another reader, which takes the names and the order of channels back."""
    model = made(name, tmp_path / "in")
    by.export(model, to="gguf", out=tmp_path / "x.gguf")
    theirs = _read_there(str(tmp_path / "x.gguf"), None if READ[name] else tmp_path / "in")
    ids = text()
    expected = model(ids).logits
    assert (theirs(ids).logits - expected).abs().max() <= 1e-4 * expected.abs().max()


def _read_there(path, folder):
    """The model of a file, with the settings of a folder where there is one."""
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    said = dict(load_gguf_checkpoint(path)["config"])
    config = transformers.AutoConfig.for_model(said.pop("model_type"), **said)
    config = config if folder is None else transformers.AutoConfig.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_config(config)
    tensors = load_gguf_checkpoint(path, return_tensors=True, model_to_load=model)["tensors"]
    found = model.load_state_dict(tensors, strict=False)
    assert not found.unexpected_keys and set(found.missing_keys) <= {"lm_head.weight"}
    return model.eval()


def test_a_llama_is_said_in_full(tmp_path):
    turns = position("llama3", trained=40, base=300.0)
    sizes = dict(vocab=37, dim=32, heads=4, kv_heads=2, ffn=48, layers=3, tied=False, eps=0.01)
    model = by.build("llama", **sizes, **{"mixer.position": turns})
    told = by.export(model, to="gguf", out=tmp_path / "x.gguf").told
    assert told == {"architecture": "llama", "numbers": "f32", "tokenizer": "none: it takes and gives ids"}
    said, tensors, kinds = stored(tmp_path / "x.gguf")
    expected = {
        "general.architecture": "llama", "general.file_type": 0, "llama.context_length": 40,
        "llama.embedding_length": 32, "llama.block_count": 3, "llama.feed_forward_length": 48,
        "llama.attention.head_count": 4, "llama.attention.head_count_kv": 2, "llama.attention.key_length": 8,
        "llama.attention.value_length": 8, "llama.vocab_size": 37, "llama.rope.freq_base": 300.0,
        "llama.rope.dimension_count": 8, "tokenizer.ggml.model": "none",
        "llama.attention.layer_norm_rms_epsilon": float(np.float32(0.01)),
    }  # fmt: skip
    assert {name: said.get(name) for name in expected} == expected
    assert set(kinds.values()) == {"F32"} and len(tensors) == 3 * 9 + 4
    ours = {path: tensor.detach() for path, tensor in model.named_parameters()}
    assert torch.equal(tensors["token_embd.weight"], ours["stem.table"])
    assert torch.equal(tensors["blk.1.ffn_gate.weight"], ours["steps.3.part.up.weight"][:48])
    queries, keys, values = ours["steps.4.part.qkv.weight"].split([32, 16, 16])
    assert torch.equal(tensors["blk.2.attn_v.weight"], values)
    for name, rows, heads in (("attn_q", queries, 4), ("attn_k", keys, 2)):
        turned = [head * 8 + half * 4 + i for head in range(heads) for i in range(4) for half in range(2)]
        assert torch.equal(tensors[f"blk.2.{name}.weight"], rows[turned])
    # waves longer than the text of training are stretched eightfold, short ones not at all
    lengths = 2 * np.pi * 300.0 ** (np.arange(0, 8, 2) / 8)
    found = tensors["rope_freqs.weight"]
    assert found.shape == (4,)
    for wave, factor in zip(lengths, found.tolist()):
        assert factor == 1 if wave <= 40 / 4 else factor == 8 if wave >= 40 else 1 < factor < 8


@pytest.mark.parametrize(("kind", "number"), [("f16", 1), ("bf16", 32), ("q8_0", 7)])
def test_numbers_of_other_kinds(kind, number, tmp_path):
    model = by.build("llama", size="tiny")
    by.export(model, to="gguf", out=tmp_path / "whole.gguf")
    done = by.export(model, to=f"gguf:{kind}", out=tmp_path / "x.gguf")
    (_, whole, _), (said, tensors, kinds) = stored(tmp_path / "whole.gguf"), stored(tmp_path / "x.gguf")
    assert said["general.file_type"] == number and done.told["numbers"] == kind
    assert kinds["blk.0.attn_q.weight"] == kind.upper() and kinds["blk.0.attn_norm.weight"] == "F32"
    for name, tensor in tensors.items():
        if kinds[name] == "F32":
            assert torch.equal(tensor, whole[name])
        elif kind == "q8_0":  # the nearest of 255 steps, of which the largest number of a block is the last
            blocks = whole[name].unflatten(-1, (-1, 32))
            step = blocks.abs().amax(-1, keepdim=True) / 127
            # the step itself is kept in half precision: up to 2^-11 of it, 127 times
            assert bool(((tensor.unflatten(-1, (-1, 32)) - blocks).abs() <= step * (0.5 + 127 / 2048 + 1e-3)).all())
        else:
            assert torch.equal(tensor, whole[name].to(form.KINDS[kind]).float())
    odd = [name for name, tensor in whole.items() if tensor.dim() > 1 and tensor.shape[-1] % 32]
    assert all(kinds[name] == ("F32" if kind == "q8_0" else kind.upper()) for name in odd) and odd
    assert ("in f32" in done.told) == (kind == "q8_0")


def test_a_model_in_bfloat16_leaves_as_it_is(tmp_path):
    by.export(by.build("llama", size="tiny").bfloat16(), to="gguf", out=tmp_path / "x.gguf")
    assert stored(tmp_path / "x.gguf")[2]["blk.0.attn_q.weight"] == "BF16"


CHANGED = [
    ("llama", {"mixer.pattern": pattern("band", window=3)}, "sliding_window=None, not 3"),
    ("llama", {"channel.activation": "relu"}, "hidden_act=silu, not relu"),
    ("llama", {"mixer.position": "dynamic_ntk"}, "rotary positions of the type dynamic"),
    ("llama", {"mixer.position": by.Spec.of("position", "yarn", {"fast": 8.0})}, "beta_fast=32"),
    ("llama", {"mixer.norm_all": norm("rms")}, "llama.cpp runs no such model"),
    ("gla", {}, "llama.cpp runs no such model"),
    ("mamba", {"mixer.inner": 32}, "expand=2, not 1"),
    ("olmo_hybrid", {}, "llama.cpp runs no such model"),
    ("vit", {}, "read ids from left to right"),
]


@pytest.mark.parametrize(("recipe", "overrides", "why"), CHANGED, ids=lambda each: str(each)[:30])
def test_what_it_would_compute_otherwise_is_refused(recipe, overrides, why, tmp_path):
    with pytest.raises(UsageError, match=why) as caught:
        by.export(by.build(recipe, size="tiny", **overrides), to="gguf", out=tmp_path / "x.gguf")
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


@pytest.mark.slow  # a model of transformers each
@pytest.mark.parametrize(("name", "changes", "why"), [
    ("qwen2", dict(head_dim=12), "no 4 heads of 12 channels"),
    ("qwen3", dict(attention_bias=True), "attention_bias=False"),
    ("gemma2", dict(query_pre_attn_scalar=24), "root of 12, and this model by that of 24"),
    ("gemma2", dict(layer_types=["full_attention"] * 3), "window in the first layer"),
    ("gemma2", dict(attn_logit_softcapping=None), "does not cap both"),
    ("gemma2", dict(tie_word_embeddings=False), "tie_word_embeddings=True"),
    ("gemma3_text", dict(layer_types=["full_attention"] * 7), "every sixth layer"),
    ("gpt_neox", dict(attention_bias=False), "attention_bias=True"),
    ("phi3", dict(sliding_window=5), "sliding_window=None, not 5"),
    ("mamba2", dict(use_conv_bias=False), "use_conv_bias=True"),
])  # fmt: skip
def test_what_a_family_has_and_it_has_not_is_refused(name, changes, why, tmp_path):
    kind, settings = CASES[name]
    built(kind, torch.float32, settings | changes).save_pretrained(tmp_path / "in")
    with pytest.raises(UsageError, match=f"llama.cpp: .*{why}"):
        by.export(tmp_path / "in", to="gguf", out=tmp_path / "x.gguf")
    assert not (tmp_path / "x.gguf").exists()


def test_nothing_half_remains_and_nothing_of_others_is_touched(tmp_path, monkeypatch):
    model, place = by.build("llama", size="tiny"), tmp_path / "x.gguf"
    place.write_bytes(b"keep me")
    with pytest.raises(UsageError, match="there already"):
        by.export(model, to="gguf", out=place)
    assert place.read_bytes() == b"keep me"
    with pytest.raises(UsageError, match="unknown kind of numbers 'q8'; did you mean q8_0"):
        by.export(model, to="gguf:q8", out=tmp_path / "y.gguf")
    huge = by.build("llama", size="tiny")
    with torch.no_grad():
        huge.stem.table[3, 3] = 1e6
    with pytest.raises(UsageError, match=r"token_embd\.weight does not fit f16"):
        by.export(huge, to="gguf:f16", out=tmp_path / "y.gguf")
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(gguf.GGUFWriter, "write_tensors_to_file", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        by.export(model, to="gguf", out=tmp_path / "y.gguf")
    with monkeypatch.context() as patched, pytest.raises(UsageError, match=r"pip install 'blockyard\[gguf\]'"):
        patched.setattr(form, "find_spec", lambda name: None)
        by.export(model, to="gguf", out=tmp_path / "y.gguf")
    assert [path.name for path in tmp_path.iterdir()] == ["x.gguf"]


def test_quantised_models_are_refused(tmp_path):
    small, _ = by.quantise(by.build("llama", size="tiny"), 8)
    with pytest.raises(UsageError, match="is quantised; export the model"):
        by.export(small, to="gguf", out=tmp_path / "x.gguf")


@torch.no_grad()
@pytest.mark.slow
@pytest.mark.parametrize(("kind", "off"), [("f16", 5e-3), ("bf16", 3e-2), ("q8_0", 6e-2)])
@pytest.mark.parametrize("name", ["llama", "gpt2", "mamba", "mamba2"])
def test_llama_cpp_runs_numbers_of_other_kinds(name, kind, off, tmp_path):
    model = by.build(name, size="tiny").eval()
    by.export(model, to=f"gguf:{kind}", out=tmp_path / "x.gguf")
    ids = text()
    expected = model(ids).logits[0]
    found = scores(opened(tmp_path / "x.gguf"), ids[0].tolist())
    assert (found - expected).abs().max() <= off * expected.abs().max()
