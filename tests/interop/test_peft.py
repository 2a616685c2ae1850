"""Adapters of peft on models of transformers: read, they say what the merged weights of theirs say; written, they are
the same again."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import blockyard as by
from blockyard.interop import load_peft, save_peft
from blockyard.model.attach import attached, attachments
from blockyard.transform._base import make_transform

F64 = torch.float64
LLAMA = dict(hidden_size=16, num_hidden_layers=2, intermediate_size=24, num_attention_heads=4, num_key_value_heads=2)
GPT2 = dict(n_positions=24, n_embd=16, n_layer=2, n_head=2)
IDS = torch.randint(1, 37, (2, 11), generator=torch.Generator().manual_seed(0))
PREFIX = "base_model.model."


def projections(theirs, ends):
    """(name, module) of what has such an end, without the head."""
    return [(name, m) for name, m in theirs.named_modules() if name.rpartition(".")[2] in ends and "head" not in name]


def sides(module):
    """(reads, writes) of a projection; gpt2 keeps it the other way round."""
    return module.weight.shape if type(module).__name__ == "Conv1D" else module.weight.shape[::-1]


def plus(module, delta):
    """Their weight with (writes, reads) more."""
    module.weight.data += delta.T if type(module).__name__ == "Conv1D" else delta


@pytest.fixture
def written(tmp_path):
    """A maker of a folder as peft writes it."""

    def write(base, tensors, **config):
        folder = tmp_path / "adapter"
        folder.mkdir(exist_ok=True)
        told = {"base_model_name_or_path": str(base), "task_type": "CAUSAL_LM", "bias": "none"} | config
        (folder / "adapter_config.json").write_text(json.dumps(told))
        save_file({f"{PREFIX}{name}": tensor.contiguous() for name, tensor in tensors.items()},
                  folder / "adapter_model.safetensors")  # fmt: skip
        return folder

    return write


def pairs(theirs, ends, rank, dtype, seed=3):
    """LoRA pairs of these projections, and what each adds where it counts once."""
    draw, tensors, products = torch.Generator().manual_seed(seed), {}, {}
    for name, module in projections(theirs, ends):
        reads, writes = sides(module)
        r = rank[name.rpartition(".")[2]] if isinstance(rank, dict) else rank
        a, b = (torch.randn(s, generator=draw, dtype=F64).to(dtype) for s in ((r, reads), (writes, r)))
        tensors |= {f"{name}.lora_A.weight": a, f"{name}.lora_B.weight": 0.3 * b}
        products[name] = 0.3 * b @ a
    return tensors, products


@torch.no_grad()
@pytest.mark.parametrize("dtype, bound", [(F64, 1e-9), (torch.float32, 1e-4)], ids=["float64", "float32"])
@pytest.mark.parametrize("kind, settings, ends", [
    ("Llama", LLAMA, ("q_proj", "v_proj")),
    ("Llama", LLAMA, ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")),
    ("GPT2", GPT2, ("c_attn", "c_fc")),
])  # fmt: skip
def test_lora_says_what_the_merged_weights_say(kind, settings, ends, dtype, bound, oracle, written):
    base, theirs, run = oracle(kind, dtype, **settings)
    tensors, products = pairs(theirs, ends, 3, dtype)
    folder = written(base, tensors, peft_type="LORA", r=3, lora_alpha=12, target_modules=list(ends))
    made = by.load(folder)
    before = run(IDS)
    for name, module in projections(theirs, ends):
        plus(module, 12 / 3 * products[name])
    assert (run(IDS) - before).abs().max() > 0.1
    assert (made(IDS).logits - run(IDS)).abs().max() < bound
    assert (make_transform("merge").apply(made).model(IDS).logits - run(IDS)).abs().max() < bound
    assert len(attachments(made)) == {2: 2, 7: 8}.get(len(ends), 2) if kind == "Llama" else 4


@torch.no_grad()
def test_ranks_and_factors_of_their_own(oracle, written):
    base, theirs, run = oracle("Llama", F64, **LLAMA)
    rank = {"q_proj": 2, "v_proj": 5}
    tensors, products = pairs(theirs, rank, rank, F64)
    config = dict(use_rslora=True, rank_pattern={"v_proj": 5}, alpha_pattern={r"layers\.1\.self_attn\.v_proj": 3})
    folder = written(base, tensors, peft_type="LORA", r=2, lora_alpha=8, target_modules=list(rank), **config)
    made = load_peft(folder)
    for name, module in projections(theirs, rank):
        r = rank[name.rpartition(".")[2]]
        plus(module, (3 if "layers.1" in name and r == 5 else 8) / r**0.5 * products[name])
    assert (made(IDS).logits - run(IDS)).abs().max() < 1e-9 and made.steps[0].part.qkv.down.shape == (7, 16)


@torch.no_grad()
def test_dora_turns_rows_and_keeps_their_own_lengths(oracle, written):
    base, theirs, run = oracle("Llama", F64, **LLAMA)
    ends = ("q_proj", "v_proj", "down_proj")
    tensors, products = pairs(theirs, ends, 2, F64)
    draw = torch.Generator().manual_seed(9)
    for name, module in projections(theirs, ends):
        tensors[f"{name}.lora_magnitude_vector"] = m = 1 + torch.rand(len(module.weight), generator=draw, dtype=F64)
        turned = module.weight + 0.5 * products[name]
        module.weight.copy_(m[:, None] * turned / turned.norm(dim=1, keepdim=True))
    folder = written(base, tensors, peft_type="LORA", r=2, lora_alpha=1, use_dora=True, target_modules=list(ends))
    made = load_peft(folder)
    assert (made(IDS).logits - run(IDS)).abs().max() < 1e-9


@torch.no_grad()
def test_ia3_scales_rows_of_some_and_columns_of_others(oracle, written):
    base, theirs, run = oracle("Llama", F64, **LLAMA)
    ends, tensors, draw = ("k_proj", "v_proj", "down_proj"), {}, torch.Generator().manual_seed(9)
    for name, module in projections(theirs, ends):
        writes, reads = module.weight.shape
        scale = 1 + torch.rand(reads if "down" in name else writes, generator=draw, dtype=F64)
        tensors[f"{name}.ia3_l"] = scale[None] if "down" in name else scale[:, None]
        module.weight.mul_(tensors[f"{name}.ia3_l"])
    folder = written(base, tensors, peft_type="IA3", target_modules=list(ends), feedforward_modules=["down_proj"])
    made = load_peft(folder)
    assert (made(IDS).logits - run(IDS)).abs().max() < 1e-9 and (made.steps[0].part.qkv.scale[:16] == 1).all()


@torch.no_grad()
@pytest.mark.parametrize("what", ["lora", "dora", "ia3"])
def test_out_and_in_again_it_is_the_same(what, oracle, written, tmp_path):
    base, theirs, _ = oracle("Llama", F64, **LLAMA)
    if what == "ia3":
        tensors = {f"{name}.ia3_l": torch.full((m.weight.shape[0], 1), 1.5, dtype=F64)
                   for name, m in projections(theirs, ("k_proj", "v_proj"))}  # fmt: skip
        config = dict(peft_type="IA3", target_modules=["k_proj", "v_proj"], feedforward_modules=[])
    else:
        tensors, _ = pairs(theirs, ("q_proj", "v_proj"), 3, F64)
        config = dict(peft_type="LORA", r=3, lora_alpha=6, use_dora=what == "dora", target_modules=["q_proj", "v_proj"])
    if what == "dora":
        for name, module in projections(theirs, ("q_proj", "v_proj")):
            tensors[f"{name}.lora_magnitude_vector"] = 2 * module.weight.norm(dim=1)
    made = load_peft(written(base, tensors, **config))
    by.save_attachment(made, tmp_path / "ours", of=base)
    again = save_peft(tmp_path / "ours", tmp_path / "back")
    back = load_file(again / "adapter_model.safetensors")
    assert back.keys() == {f"{PREFIX}{name}" for name in tensors}
    for name, tensor in tensors.items():
        assert torch.equal(back[f"{PREFIX}{name}"], tensor), name
    told = json.loads((again / "adapter_config.json").read_text())
    assert told["peft_type"] == config["peft_type"] and (what == "ia3" or (told["r"], told["lora_alpha"]) == (3, 6))
    assert torch.equal(load_peft(again, base)(IDS).logits, made(IDS).logits)


@torch.no_grad()
def test_what_was_trained_here_goes_out_with_every_piece(oracle, tmp_path):
    """A pair of ours adds to queries, keys and values alike: three of theirs of the same rank."""
    base, theirs, run = oracle("Llama", F64, **LLAMA)
    made = make_transform("lora:rank=2,alpha=4").apply(by.load(base)).model
    own, draw = dict(made.named_parameters()), torch.Generator().manual_seed(1)
    for name in attached(made):
        own[name].copy_(0.3 * torch.randn(own[name].shape, generator=draw, dtype=F64))
    by.save_attachment(made, tmp_path / "ours", of=base)
    out = save_peft(tmp_path / "ours", tmp_path / "out")
    told, tensors = json.loads((out / "adapter_config.json").read_text()), load_file(out / "adapter_model.safetensors")
    assert len(told["target_modules"]) == 14 and (told["r"], told["lora_alpha"]) == (2, 4)
    for name, module in theirs.named_modules():
        if name in told["target_modules"]:
            a, b = (tensors[f"{PREFIX}{name}.{half}.weight"] for half in ("lora_A", "lora_B"))
            plus(module, told["lora_alpha"] / told["r"] * b @ a)
    assert (made(IDS).logits - run(IDS)).abs().max() < 1e-9


def test_what_is_not_understood_is_refused(oracle, written, tmp_path):
    base, theirs, _ = oracle("Llama", **LLAMA)
    tensors, _ = pairs(theirs, ("q_proj",), 2, torch.float32)
    good = dict(peft_type="LORA", r=2, lora_alpha=2)

    def refused(says, tensors=tensors, model=None, **config):
        with pytest.raises(by.UsageError, match=says):
            load_peft(written(base, tensors, **good | config), model)

    refused("peft_type='VERA' cannot be read", peft_type="VERA")
    refused("modules_to_save=.*may change what the adapter computes", modules_to_save=["lm_head"])
    refused("bias='all'", bias="all")
    refused("which is no folder here", base_model_name_or_path="meta/llama")
    name = "model.layers.0.self_attn.q_proj"
    refused("layers.7.self_attn.q_proj is no projection",
            {key.replace("layers.0", "layers.7"): tensor for key, tensor in tensors.items()})  # fmt: skip
    refused("q_proj has down", {key: tensor for key, tensor in tensors.items() if "lora_A" in key})
    refused("lora_B of .* the model has 16 rows", tensors | {f"{name}.lora_B.weight": torch.zeros(12, 2)})
    refused("is not known", tensors | {f"{name}.lora_C.weight": torch.zeros(2)})
    refused("holds no adapter|no model that transformers saved", model=by.build("llama", "tiny").save(tmp_path / "m"))
    folder = written(base, tensors, **good)
    (folder / "adapter_model.safetensors").write_bytes(b"abc")
    with pytest.raises(by.UsageError, match="cannot be read"):
        load_peft(folder)
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(by.UsageError, match="a pickle, which is never opened"):
        load_peft(folder)
    both = make_transform("bottleneck:inner=2").apply(by.load(base)).model
    by.save_attachment(both, tmp_path / "ours", of=base)
    with pytest.raises(by.UsageError, match="peft keeps one of LoRA, DoRA and IA3"):
        save_peft(tmp_path / "ours", tmp_path / "out")
    assert not (tmp_path / "out").exists()
