"""Virtual tokens in folders of peft: what is read says what transformers says of these embeddings before those of the
text, which is what peft gives it."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import blockyard as by
from blockyard.interop import load_peft, save_peft
from blockyard.transform._base import make_transform
from tests.interop.conftest import built, precision

pytest.importorskip("transformers")
F64 = torch.float64
IDS = torch.randint(1, 37, (2, 9), generator=torch.Generator().manual_seed(0))
FAMILIES = {
    "llama": dict(hidden_size=16, num_hidden_layers=2, intermediate_size=24, num_attention_heads=4),
    "gpt2": dict(n_positions=24, n_embd=16, n_layer=2, n_head=2),
    "mamba2": dict(hidden_size=16, num_hidden_layers=2, state_size=4, num_heads=4, head_dim=8, n_groups=1),
}


def of_theirs(family, folder, dtype=F64):
    """A model of theirs in a folder."""
    theirs = built(family, dtype, FAMILIES[family])
    theirs.save_pretrained(folder)
    return theirs


def written(folder, base, prompt, **config):
    """A folder as peft writes it."""
    folder.mkdir(exist_ok=True)
    said = {
        "peft_type": "PROMPT_TUNING", "base_model_name_or_path": str(base), "task_type": "CAUSAL_LM", "token_dim": 16,
        "num_virtual_tokens": 5, "num_transformer_submodules": 1, "num_attention_heads": 4, "num_layers": 2,
        "prompt_tuning_init": "RANDOM", "prompt_tuning_init_text": None, "tokenizer_name_or_path": None,
        "inference_mode": True, "auto_mapping": None, "revision": None,
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(said | config))
    save_file({"prompt_embeddings": prompt}, folder / "adapter_model.safetensors")
    return folder


def drawn(many=5, width=16, dtype=F64):
    return torch.randn(many, width, generator=torch.Generator().manual_seed(1), dtype=dtype)


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["PROMPT_TUNING", "P_TUNING"])
def test_read_and_written_it_says_what_theirs_says(family, kind, tmp_path):
    theirs, prompt = of_theirs(family, tmp_path / "base"), drawn()
    extra = {"encoder_reparameterization_type": "MLP", "encoder_hidden_size": 8, "encoder_dropout": 0.1}
    folder = written(tmp_path / "in", tmp_path / "base", prompt, peft_type=kind, **extra if kind == "P_TUNING" else {})
    with precision(F64):
        embedded = torch.cat([prompt.expand(2, -1, -1), theirs.get_input_embeddings()(IDS)], 1)
        wanted = theirs(inputs_embeds=embedded, use_cache=False).logits[:, 5:]
    ours = by.load(folder)
    assert (ours(IDS).logits - wanted).abs().max() < 1e-9
    by.save_attachment(ours, tmp_path / "ours", of=tmp_path / "base")
    back = save_peft(tmp_path / "ours", tmp_path / "out")
    assert torch.equal(load_file(back / "adapter_model.safetensors")["prompt_embeddings"], prompt)
    said = json.loads((back / "adapter_config.json").read_text())
    assert {name: said[name] for name in ("peft_type", "num_virtual_tokens", "token_dim", "task_type")} == {
        "peft_type": "PROMPT_TUNING", "num_virtual_tokens": 5, "token_dim": 16, "task_type": "CAUSAL_LM"
    }  # fmt: skip
    assert torch.equal(load_peft(back)(IDS).logits, ours(IDS).logits)


@pytest.mark.parametrize(
    "config, prompt, why",
    [
        (dict(num_virtual_tokens=4), drawn(), r"prompt_embeddings is \(5, 16\), and 4 x 16 are meant"),
        (dict(), drawn(width=8), r"\(5, 8\)"),
        (dict(num_transformer_submodules=2), drawn(), "num_transformer_submodules=2"),
        (dict(mixing="gated"), drawn(), "mixing='gated' cannot be read"),
        (dict(encoder_hidden_size=8), drawn(), "encoder_hidden_size"),
        (dict(peft_type="PREFIX_TUNING"), drawn(), "PROMPT_TUNING and P_TUNING are known"),
    ],
)
def test_what_is_not_understood_is_refused(config, prompt, why, tmp_path):
    of_theirs("llama", tmp_path / "base", torch.float32)
    with pytest.raises(by.UsageError, match=why) as caught:
        by.load(written(tmp_path / "in", tmp_path / "base", prompt.float(), **config))
    assert "\n" not in str(caught.value)


def test_where_tokens_are_scaled_it_is_refused(tmp_path):
    sizes = dict(hidden_size=16, num_hidden_layers=1, intermediate_size=8, num_attention_heads=2, head_dim=4)
    built("gemma", torch.float32, sizes | dict(num_key_value_heads=1)).save_pretrained(tmp_path / "base")
    with pytest.raises(by.UsageError, match="counts what it looks up 4 times"):
        by.load(written(tmp_path / "in", tmp_path / "base", drawn(dtype=torch.float32)))


def test_beside_another_adapter_peft_has_no_word_for_it(tmp_path):
    of_theirs("llama", tmp_path / "base", torch.float32)
    both = make_transform("soft_prompt:tokens=2").apply(by.load(tmp_path / "base")).model
    both = make_transform("lora:rank=2").apply(both).model
    by.save_attachment(both, tmp_path / "both", of=tmp_path / "base")
    with pytest.raises(by.UsageError, match="or virtual tokens, and here is linear:lora, store:prompted"):
        save_peft(tmp_path / "both", tmp_path / "out")
    assert not (tmp_path / "out").exists()
