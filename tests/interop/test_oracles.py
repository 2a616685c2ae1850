"""Imported models against transformers: logits and a gradient that every layer reaches."""

import json
import random

import pytest
import torch
from torch.nn.functional import cross_entropy

from blockyard import UsageError
from blockyard.interop import from_transformers, load
from tests.interop.conftest import settings_read

NO_ROPE = {"rope_theta": None, "rope_type": "default"}
SMALL = dict(hidden_size=16, num_hidden_layers=2)
CASES = {
    "gpt2": ("GPT2", dict(n_positions=24, n_embd=16, n_layer=2, n_head=2)),
    "gpt2 wide, untied": (
        "GPT2",
        dict(n_positions=24, n_embd=16, n_layer=1, n_head=4, n_inner=24)
        | dict(tie_word_embeddings=False, layer_norm_epsilon=0.1),
    ),
    "llama": ("Llama", SMALL | dict(intermediate_size=24, num_attention_heads=4)),
    "llama grouped": (
        "Llama",
        SMALL | dict(intermediate_size=24, num_attention_heads=4, num_key_value_heads=2, rms_norm_eps=0.1),
    ),
    "llama tied": (
        "Llama",
        SMALL
        | dict(intermediate_size=24, num_attention_heads=2, num_key_value_heads=1, head_dim=6, tie_word_embeddings=True)
        | dict(hidden_act="gelu_pytorch_tanh", rope_parameters={"rope_theta": 500.0, "rope_type": "default"}),
    ),
    "mamba": ("Mamba", SMALL | dict(state_size=4)),
    "mamba no conv bias": (
        "Mamba",
        SMALL | dict(state_size=4, time_step_rank=3, conv_kernel=3, use_conv_bias=False, tie_word_embeddings=False),
    ),
    "mamba2": ("Mamba2", SMALL | dict(state_size=4, num_heads=4, head_dim=8, n_groups=1, chunk_size=8)),
    "mamba2 tied": (
        "Mamba2",
        SMALL | dict(state_size=6, expand=1, num_heads=2, head_dim=8, n_groups=1, tie_word_embeddings=True),
    ),
    "mamba2 groups": ("Mamba2", SMALL | dict(state_size=4, num_heads=4, head_dim=8, n_groups=2, chunk_size=8)),
    "olmo_hybrid": (
        "OlmoHybrid",
        dict(hidden_size=16, num_hidden_layers=4, intermediate_size=24, num_attention_heads=2, rope_parameters=NO_ROPE),
    ),
    "olmo_hybrid rope": (
        "OlmoHybrid",
        dict(hidden_size=16, num_hidden_layers=3, intermediate_size=24, num_attention_heads=4, num_key_value_heads=2)
        | dict(layer_types=["linear_attention", "full_attention", "full_attention"], linear_allow_neg_eigval=False)
        | dict(linear_num_key_heads=2, linear_num_value_heads=2, linear_key_head_dim=4, linear_value_head_dim=6)
        | dict(linear_conv_kernel_dim=2),
    ),
}
# float64 runs theirs without the single precision that most classes force on norms and states (conftest.Double)
PRECISIONS = {torch.float32: 1e-4, torch.float64: 1e-10}


@pytest.mark.parametrize("dtype", PRECISIONS, ids=["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_logits_and_a_gradient_agree_with_transformers(case, dtype, oracle):
    kind, settings = CASES[case]
    folder, theirs, run = oracle(kind, dtype, **settings)
    ours = from_transformers(folder)
    assert {p.dtype for p in ours.parameters()} == {dtype}
    # token 0 pads, and some classes keep the gradient of its row at zero
    tokens = torch.randint(1, 37, (2, 19), generator=torch.Generator().manual_seed(0))
    expected, logits = run(tokens), ours(tokens).logits
    assert expected.std() > 0.1
    apart = (expected - logits).abs().max()
    assert apart <= PRECISIONS[dtype]

    for each in (expected, logits):
        cross_entropy(each[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()).backward()
    wanted, grad = theirs.get_input_embeddings().weight.grad, ours.stem.table.grad
    assert wanted.abs().max() > 1e-3
    # a gradient is as large as the random norms and gates make it: hold it relative to its own size
    assert (wanted - grad).abs().max() <= PRECISIONS[dtype] * wanted.abs().max().clamp(min=1)


ODD = (None, False, True, 0, 1, 2, 0.5, -1, "none", "gelu", [], [0.0, 0.1], {}, {"rope_theta": 100.0})


@torch.no_grad()
@pytest.mark.parametrize("case", [case for case in CASES if " " not in case])
@pytest.mark.parametrize("share", [0.05, pytest.param(1.0, marks=pytest.mark.slow)])
def test_a_setting_is_read_as_theirs_reads_it_or_refused(case, share, oracle):
    """One setting at a time to an odd value: where both libraries load the folder, they say the same."""
    kind, settings = CASES[case]
    folder, model, _ = oracle(kind, **settings)
    path, tokens = folder / "config.json", torch.arange(1, 18)[None]
    config, draw = json.loads(path.read_text()), random.Random(7)
    tried = [(name, value) for name in settings_read(case) for value in ODD]
    picked = tried if share == 1 else [("is_causal", False), *draw.sample(tried, int(share * len(tried)))]
    compared = 0
    for name, value in picked:
        path.write_text(json.dumps(config | {name: value}))
        try:
            ours = load(folder)(tokens).logits
        except UsageError:
            continue
        try:
            theirs = type(model).from_pretrained(folder, dtype=torch.float32, ignore_mismatched_sizes=False).eval()
            logits = theirs(tokens, use_cache=False).logits
        except Exception:  # they refuse in many ways
            continue
        compared += 1
        assert torch.allclose(ours, logits, atol=1e-4), (name, value)
    assert compared or share < 1


def test_several_shards_equal_one(oracle):
    kind, settings = CASES["llama"]
    folder, _, run = oracle(kind, shard="8KB", **settings)
    assert not (folder / "model.safetensors").exists() and len(list(folder.glob("*.safetensors"))) > 2
    tokens = torch.arange(12)[None]
    assert (run(tokens) - load(folder)(tokens).logits).abs().max() <= 1e-4


def test_an_imported_model_is_ours_from_then_on(oracle, tmp_path):
    from blockyard.model.save import save_model

    kind, settings = CASES["olmo_hybrid"]
    folder, _, _ = oracle(kind, **settings)
    first = load(folder)
    again = load(save_model(first, tmp_path / "ours"))
    tokens = torch.arange(12)[None]
    assert again.spec == first.spec
    assert torch.equal(first(tokens).logits, again(tokens).logits)


def test_dtype_is_what_the_caller_asks_for(oracle):
    kind, settings = CASES["gpt2"]
    folder, _, _ = oracle(kind, **settings)
    assert {p.dtype for p in from_transformers(folder, dtype=torch.bfloat16).parameters()} == {torch.bfloat16}


def test_the_body_alone_of_a_tied_model_is_enough(oracle):
    """What the first GPT-2 checkpoints look like: no prefix, no head, and masks among the tensors."""
    from safetensors.torch import load_file, save_file

    kind, settings = CASES["gpt2"]
    folder, _, run = oracle(kind, **settings)
    file = folder / "model.safetensors"
    tensors = {name.removeprefix("transformer."): tensor for name, tensor in load_file(file).items()}
    tensors |= {f"h.{i}.attn.bias": torch.ones(1, 1, 24, 24).tril() for i in range(2)}
    save_file(tensors, file)
    tokens = torch.arange(12)[None]
    assert (run(tokens) - load(folder)(tokens).logits).abs().max() <= 1e-4
