"""What cannot be imported is refused in a line or two that name the mistake; no model comes back half-filled."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from blockyard import UsageError
from blockyard.interop import from_transformers, load

SIZES = dict(vocab_size=11, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=12)
LLAMA = SIZES | dict(model_type="llama", tie_word_embeddings=True)
MAMBA2 = SIZES | dict(model_type="mamba2", num_heads=4, head_dim=4, n_groups=1, intermediate_size=16)
GPT2 = dict(model_type="gpt2", vocab_size=11, n_embd=8, n_layer=1, n_head=2, n_positions=16)
OLMO = SIZES | dict(model_type="olmo_hybrid", layer_types=["linear_attention"])
SHAPES = {
    "embed_tokens": (11, 8), "norm": (8,), "layers.0.input_layernorm": (8,), "layers.0.post_attention_layernorm": (8,),
    **{f"layers.0.self_attn.{name}_proj": (8, 8) for name in "qkvo"},
    **{f"layers.0.mlp.{name}_proj": (12, 8) for name in ("gate", "up")}, "layers.0.mlp.down_proj": (8, 12),
}  # fmt: skip
TENSORS = {f"model.{name}.weight": torch.ones(shape) for name, shape in SHAPES.items()}


@pytest.fixture
def folder(tmp_path):
    """A small llama as transformers writes it."""
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    save_file(TENSORS, tmp_path / "model.safetensors")
    return tmp_path


def refused(folder, *words):
    with pytest.raises(UsageError) as caught:
        load(folder)
    message = str(caught.value)
    assert message.count("\n") < 2
    for word in words:
        assert word in message


def configure(folder, config):
    (folder / "config.json").write_text(json.dumps(config))


def test_the_small_llama_is_complete(folder):
    assert load(folder)(torch.arange(5)[None]).logits.shape == (1, 5, 11)


def test_an_unknown_model_type_gets_the_nearest_name(folder):
    configure(folder, LLAMA | dict(model_type="lama"))
    refused(folder, "'lama'", "did you mean llama")


@pytest.mark.parametrize("text", ["{", "[]", "\x00\x01"])
def test_a_damaged_config_is_named(folder, text):
    (folder / "config.json").write_text(text)
    refused(folder, "config.json is damaged")


def test_a_folder_without_a_model_is_named(tmp_path):
    refused(tmp_path, "config.json is missing")
    configure(tmp_path, {})
    refused(tmp_path, "neither format (ours) nor model_type")
    configure(tmp_path, LLAMA)
    refused(tmp_path, "model.safetensors is missing")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    refused(tmp_path, "pytorch_model.bin is a pickle")


@pytest.mark.parametrize(
    "field, config",
    [
        ("rope_scaling", LLAMA | dict(rope_scaling={"type": "linear", "factor": 0.5})),
        ("rope_scaling", LLAMA | dict(rope_scaling={"type": "linear", "factor": 2.0, "beta_fast": 3.0})),
        ("rope_parameters", LLAMA | dict(rope_parameters={"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0})),
        ("rope_parameters", LLAMA | dict(rope_parameters={"rope_type": "mrope", "rope_theta": 1e4})),
        ("rope_parameters", LLAMA | dict(rope_parameters={"rope_theta": 1e4, "partial_rotary_factor": 0.5})),
        ("rope_parameters", LLAMA | dict(rope_parameters="default")),
        ("rope_theta", LLAMA | dict(rope_parameters={"rope_theta": None})),
        ("rope_theta", LLAMA | dict(rope_theta=None)),
        ("rope_theta", LLAMA | dict(rope_theta="large")),
        ("auto_map", LLAMA | dict(auto_map={"AutoModel": "their_code.Model"})),
        ("q_proj.bias", LLAMA | dict(attention_bias=True)),
        ("down_proj.bias", LLAMA | dict(mlp_bias=True)),
        ("sliding_window", LLAMA | dict(sliding_window=4096)),
        ("quantization_config", LLAMA | dict(quantization_config={"bits": 4})),
        ("hidden_act", LLAMA | dict(hidden_act="mish")),
        ("hidden_act", LLAMA | dict(hidden_act=["silu"])),
        ("hidden_size", LLAMA | dict(hidden_size="8")),
        ("hidden_size", LLAMA | dict(hidden_size=None)),
        ("rms_norm_eps", LLAMA | dict(rms_norm_eps="tiny")),
        ("tie_word_embeddings", LLAMA | dict(tie_word_embeddings="yes")),
        ("heads=3", LLAMA | dict(num_attention_heads=3)),
        ("scale_attn_by_inverse_layer_idx", GPT2 | dict(scale_attn_by_inverse_layer_idx=True)),
        ("scale_attn_weights", GPT2 | dict(scale_attn_weights=False)),
        ("add_cross_attention", GPT2 | dict(add_cross_attention=True)),
        ("use_bias", MAMBA2 | dict(use_bias=True)),
        ("time_step_limit", MAMBA2 | dict(time_step_limit=[0.0, 0.1])),
        ("num_heads", MAMBA2 | dict(num_heads=8)),
        ("layer_types", OLMO | dict(layer_types=["sliding_attention"])),
        ("layer_types", OLMO | dict(layer_types=["linear_attention"] * 2)),
        ("is_causal", LLAMA | dict(is_causal=False)),
        ("is_causal", LLAMA | dict(is_causal=None)),
        ("made_up", LLAMA | dict(made_up=False)),
        ("made_up", LLAMA | dict(made_up=None)),
        ("pruned_heads", LLAMA | dict(pruned_heads={"0": [1]})),
        ("rms_norm_eps", LLAMA | dict(rms_norm_eps=None)),
        ("rms_norm", MAMBA2 | dict(rms_norm=None)),
        ("tie_word_embeddings", LLAMA | dict(tie_word_embeddings=None)),
        ("rope_scaling", LLAMA | dict(rope_scaling=False)),
        ("rope_scaling", LLAMA | dict(rope_scaling={"type": "default"}, rope_parameters={"rope_type": "default"})),
        ("rope_theta", LLAMA | dict(rope_theta=0)),
        ("num_hidden_layers=4000", LLAMA | dict(num_hidden_layers=4000)),
        ("num_hidden_layers", OLMO | dict(num_hidden_layers=10**12)),
        ("linear_num_key_heads", OLMO | dict(linear_num_key_heads=1)),
    ],
)
def test_a_setting_that_cannot_be_expressed_is_named(folder, field, config):
    configure(folder, config)
    refused(folder, field)


def test_a_caller_may_vouch_for_an_unknown_setting(folder):
    plain = load(folder).spec
    configure(folder, LLAMA | dict(made_by="somebody"))
    refused(folder, "made_by='somebody'", "ignore=('made_by',)")
    assert from_transformers(folder, ignore=("made_by",)).spec == plain


@pytest.mark.parametrize("keep", [0, 4, 40, 0.5, -1])
def test_a_truncated_file_is_named(folder, keep):
    file = folder / "model.safetensors"
    data = file.read_bytes()
    file.write_bytes(data[: int(keep * len(data)) if 0 < keep < 1 else keep])
    refused(folder, "model.safetensors cannot be read")


def shards(folder):
    """The same model in two files with an index."""
    (folder / "model.safetensors").unlink()
    places = {name: f"model-{i % 2}.safetensors" for i, name in enumerate(TENSORS)}
    for shard in set(places.values()):
        save_file({name: TENSORS[name] for name, place in places.items() if place == shard}, folder / shard)
    write_index(folder, places)
    return places


def write_index(folder, places):
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


def test_two_shards_are_read(folder):
    whole = dict(load(folder).named_parameters())
    shards(folder)
    assert all(torch.equal(whole[name], p) for name, p in load(folder).named_parameters())


def test_a_missing_shard_is_named(folder):
    shards(folder)
    (folder / "model-1.safetensors").unlink()
    refused(folder, "not complete", "model-1.safetensors is missing")


def test_an_index_that_lies_is_named(folder):
    places = shards(folder)
    write_index(folder, places | {"model.layers.0.mlp.ghost": "model-0.safetensors"})
    refused(folder, "model.layers.0.mlp.ghost")
    write_index(folder, places | {"model.norm.weight": "../model-0.safetensors"})
    refused(folder, "does not name files of this folder")
    write_index(folder, ["model-0.safetensors"])
    refused(folder, "does not name files of this folder")


def rewrite(folder, **tensors):
    names = {name.replace("__", "."): tensor for name, tensor in tensors.items()}
    found = load_file(folder / "model.safetensors") | names
    save_file({name: tensor for name, tensor in found.items() if tensor is not None}, folder / "model.safetensors")


def test_every_parameter_is_filled(folder):
    rewrite(folder, model__norm__weight=None)
    refused(folder, "model.norm.weight missing")


def test_every_tensor_is_used(folder):
    rewrite(folder, model__layers__1__mlp__up_proj__weight=torch.ones(12, 8))
    refused(folder, "model.layers.1.mlp.up_proj.weight")
    rewrite(folder, model__layers__1__mlp__up_proj__weight=None)
    rewrite(folder, model__layers__0__self_attn__rotary_emb__inv_freq=torch.ones(2))
    load(folder)


def test_shapes_are_checked(folder):
    rewrite(folder, model__norm__weight=torch.ones(7))
    refused(folder, "head.norm.gain", "(7,)", "(8,)")
    rewrite(folder, model__layers__0__self_attn__k_proj__weight=torch.ones(8, 7))
    refused(folder, "self_attn.k_proj.weight", "do not fit together")


def test_a_scalar_is_no_matrix(folder):
    rewrite(folder, model__layers__0__self_attn__k_proj__weight=torch.tensor(1.0))
    refused(folder, "self_attn.k_proj.weight")


def test_integers_are_no_weights(folder):
    rewrite(folder, model__norm__weight=torch.ones(8, dtype=torch.int8))
    refused(folder, "model.norm.weight", "int8")


def test_too_many_layers_are_refused_before_one_is_built(folder, monkeypatch):
    monkeypatch.setattr("blockyard.interop.folder.on_meta", lambda spec: pytest.fail("built"))
    configure(folder, LLAMA | dict(num_hidden_layers=4000))
    refused(folder, "num_hidden_layers=4000", "the weights have 1 layers")


def test_settings_that_ask_for_nothing_are_no_obstacle(folder):
    plain = load(folder).spec
    configure(folder, LLAMA | dict(is_causal=True, is_encoder_decoder=False, pruned_heads={}, sliding_window=None))
    assert load(folder).spec == plain


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(folder, value):
    rewrite(folder, model__norm__weight=torch.full((8,), value))
    refused(folder, "head.norm.gain", "not finite")


def test_weights_that_do_not_fit_are_named(folder):
    rewrite(folder, model__norm__weight=torch.full((8,), 1e6))
    load(folder)
    with pytest.raises(UsageError, match="does not fit float16"):
        from_transformers(folder, dtype=torch.float16)


def test_weights_of_several_kinds_become_the_widest_and_that_is_said(folder):
    rewrite(folder, model__norm__weight=torch.ones(8, dtype=torch.bfloat16))
    with pytest.warns(UserWarning, match="bfloat16 and float32: all were made float32"):
        model = load(folder)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    rewrite(folder, model__layers__0__self_attn__q_proj__weight=torch.ones(8, 8, dtype=torch.float16))
    with pytest.warns(UserWarning, match="bfloat16 and float16 and float32"):
        load(folder)


def test_numbers_of_eight_bits_are_no_weights(folder):
    rewrite(folder, model__norm__weight=torch.ones(8).to(torch.float8_e4m3fn))
    refused(folder, "model.norm.weight", "float8")


def test_a_tied_head_is_the_table(folder):
    rewrite(folder, lm_head__weight=TENSORS["model.embed_tokens.weight"].clone())
    load(folder)
    rewrite(folder, lm_head__weight=torch.zeros(11, 8))
    refused(folder, "tie_word_embeddings", "lm_head.weight")
    configure(folder, LLAMA | dict(tie_word_embeddings=False))
    load(folder)
