"""Tensors of experts, of interleaved heads and of stacked matrices: all are used, and what does not fit is named."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from blockyard import UsageError
from blockyard.interop import load
from tests.interop.conftest import built

pytest.importorskip("transformers")
SMALL = dict(hidden_size=16, num_hidden_layers=1, intermediate_size=12, num_attention_heads=2, num_key_value_heads=1)
MANY = dict(num_experts=3, num_experts_per_tok=2, moe_intermediate_size=6, shared_expert_intermediate_size=5)
DELTA = dict(
    linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=4, linear_value_head_dim=3, head_dim=8
)
MAMBA = dict(mamba_n_heads=4, mamba_d_head=8, mamba_d_state=4)
CASES = {
    "mixtral": SMALL | dict(num_local_experts=3),
    "granitemoe": SMALL | dict(num_local_experts=3),
    "granitemoehybrid": SMALL | MAMBA | dict(num_local_experts=3, shared_intermediate_size=5),
    "qwen3_moe": SMALL | MANY,
    "qwen3_next": SMALL | MANY | DELTA | dict(num_hidden_layers=2, full_attention_interval=2),
    "recurrent_gemma": SMALL,
    "falcon_h1": SMALL | MAMBA | dict(mamba_d_ssm=32),
    "lfm2": SMALL,
    "jamba": SMALL | dict(num_experts=3, num_experts_per_tok=2),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A maker of (config, tensors) of a family; each is built once."""
    held = {}

    def make(family):
        if family not in held:
            folder = tmp_path_factory.mktemp(family)
            built(family, torch.float32, CASES[family]).save_pretrained(folder)
            held[family] = json.loads((folder / "config.json").read_text()), load_file(folder / "model.safetensors")
        return held[family]

    return make


def written(folder, config, tensors):
    (folder / "config.json").write_text(json.dumps(config))
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    return folder


def refused(folder, *words):
    with pytest.raises(UsageError) as caught:
        load(folder)
    assert str(caught.value).count("\n") < 2
    for word in words:
        assert word in str(caught.value)


MOE = "model.layers.0.block_sparse_moe"
NEXT = "model.layers.0.linear_attn.in_proj"
CHANGED = [  # family, tensor, what becomes of it (None: it is missing), words of the message
    ("mixtral", f"{MOE}.experts.2.w1.weight", None, [f"{MOE}.experts.2.w1.weight missing"]),
    ("mixtral", f"{MOE}.experts.3.w1.weight", lambda _: torch.ones(12, 16), ["experts.3.w1", "does not explain"]),
    ("mixtral", f"{MOE}.gate.weight", lambda t: t[:2], ["gate.weight", "(2, 16)", "(3, 16)"]),
    ("granitemoe", f"{MOE}.input_linear.weight", lambda t: torch.cat([t, t]), ["(6, 24, 16)", "3 matrices"]),
    ("granitemoe", f"{MOE}.output_linear.weight", lambda t: t[:2], ["(2, 16, 12)", "3 matrices"]),
    ("granitemoe", f"{MOE}.output_linear.weight", lambda t: t.flatten(0, 1), ["(48, 12)", "3 matrices"]),
    ("qwen3_next", f"{NEXT}_qkvz.weight", lambda t: t[:-2], [f"{NEXT}_qkvz.weight", "rows of 2 heads"]),
    ("qwen3_next", f"{NEXT}_ba.weight", lambda t: t[:-1], ["rows of 2 heads", "7"]),
    ("qwen3_next", "model.layers.1.self_attn.q_proj.weight", lambda t: t[:-8], ["q_proj", "runs of 2 x 8 rows"]),
    ("qwen3_next", "model.layers.1.self_attn.q_proj.weight", lambda t: t[0, 0], ["q_proj", "runs of 2 x 8 rows"]),
    ("recurrent_gemma", "model.layers.0.temporal_block.rg_lru.input_gate_weight", lambda t: t[:1], ["gate_weight"]),
    ("recurrent_gemma", "model.layers.0.temporal_block.rg_lru.input_gate_bias", lambda t: t[0], ["input_gate_bias"]),
    ("falcon_h1", "model.layers.0.mamba.norm.weight", lambda _: torch.ones(32), ["mamba.norm.weight"]),
]


@pytest.mark.parametrize("family, name, change, words", CHANGED, ids=lambda v: v if isinstance(v, str) else "")
def test_what_does_not_fit_is_named(family, name, change, words, saved, tmp_path):
    config, tensors = saved(family)
    load(written(tmp_path, config, tensors))
    tensors = dict(tensors)
    old = tensors.pop(name, None)
    if change is not None:
        tensors[name] = change(old).clone()
    refused(written(tmp_path, config, tensors), *words)


@pytest.mark.parametrize(
    "family, settings, word",
    [
        ("mixtral", dict(num_experts_per_tok=4), "num_experts_per_tok"),
        ("mixtral", dict(num_experts=2), "num_experts"),
        ("mixtral", dict(num_local_experts=0), "num_local_experts"),
        ("qwen3_moe", dict(mlp_only_layers=["0"]), "mlp_only_layers"),
        ("qwen3_moe", dict(use_sliding_window=True), "use_sliding_window"),
        ("qwen3_moe", dict(norm_topk_prob=None), "norm_topk_prob"),
        ("granitemoehybrid", dict(mamba_n_heads=3), "mamba_n_heads"),
        ("granitemoehybrid", dict(mamba_d_head=4), "mamba_d_head"),
        ("granitemoehybrid", dict(time_step_limit=[0.0, 0.1]), "time_step_limit"),
        ("granitemoehybrid", dict(layer_types=["sliding_attention"]), "layer_types"),
        ("granitemoehybrid", dict(attention_multiplier=0), "attention_multiplier"),
        ("qwen3_next", dict(linear_num_key_heads=3), "linear_num_key_heads"),
        ("qwen3_next", dict(hidden_act="gelu"), "hidden_act"),
        ("recurrent_gemma", dict(lru_width=15), "lru_width"),
        ("recurrent_gemma", dict(block_types=["mamba"]), "block_types"),
        ("recurrent_gemma", dict(sliding_window=3), "sliding_window"),
        ("falcon_h1", dict(mlp_multipliers=[1.0]), "mlp_multipliers"),
        ("falcon_h1", dict(projectors_bias=True), "projectors_bias"),
        ("lfm2", dict(conv_dim=17), "conv_dim"),
        ("lfm2", dict(full_attn_idxs="all", layer_types=None), "full_attn_idxs"),
        ("jamba", dict(attn_layer_offset=8), "attn_layer_offset"),
        ("jamba", dict(mamba_proj_bias=True), "mamba_proj_bias"),
        ("jamba", dict(made_up=1), "made_up"),
    ],
)
def test_a_setting_that_cannot_be_expressed_is_named(family, settings, word, saved, tmp_path):
    config, tensors = saved(family)
    refused(written(tmp_path, config | settings, tensors), word)


@torch.no_grad()
def test_every_piece_of_an_interleaved_tensor_stands_where_it_belongs(saved, tmp_path):
    """Rows of zeros for one piece at a time: what is silent in theirs is silent here."""
    config, tensors = saved("qwen3_next")
    heads, sizes = 2, [4, 4, 6, 6]  # of a head of keys: query, key, two heads of values, their gates
    rows = torch.arange(heads * sum(sizes)).view(heads, -1).split(sizes, 1)
    part = load(written(tmp_path, config, tensors)).steps[0].part
    ours = part.proj.weight.split([8, 8, 12, 12, 4, 4])
    for piece, index in zip(ours, rows):
        assert torch.equal(piece, tensors[f"{NEXT}_qkvz.weight"][index.flatten()])
    rates, decays = tensors[f"{NEXT}_ba.weight"].view(2, 2, 2, 16).unbind(1)
    assert torch.equal(ours[4], decays.flatten(0, 1)) and torch.equal(ours[5], rates.flatten(0, 1))
