"""Virtual tokens in folders of the peft library, in and out: `prompt_embeddings` (P,D) in adapter_model.safetensors.

    PROMPT_TUNING    the rows as they were learned
    P_TUNING         the rows that its network made, which is what peft keeps and reads: the network is thrown away

Both stand before the first token of every row, and all tokens P places further on. Where a model multiplies what it
looks up, families of theirs do that to virtual tokens or not, and they are refused.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from blockyard.core.errors import UsageError
from blockyard.core.spec import store
from blockyard.interop.weights import read_file
from blockyard.model.attach import attach
from blockyard.model.model import Model
from blockyard.model.save import fill, stored

KINDS = ("PROMPT_TUNING", "P_TUNING")
WHERE, TENSOR = "stem.store", "prompt_embeddings"
# of how they were learned, what peft writes of every adapter, and sizes that the tensor and the model say
FREE = (
    "peft_type", "task_type", "inference_mode", "base_model_name_or_path", "auto_mapping", "peft_version", "revision",
    "prompt_tuning_init", "prompt_tuning_init_text", "tokenizer_name_or_path", "tokenizer_kwargs", "token_dim",
    "num_attention_heads", "num_layers", "num_virtual_tokens",
)  # fmt: skip


def put_prompt(
    model: Model, config: Mapping[str, Any], folder: Path, weights: str, *, share: bool = False
) -> Model:  # fmt: skip
    """The model with the virtual tokens of a folder before its texts.

    config   its adapter_config.json, of one of KINDS        weights   the name of the file of tensors
    share    as in `attach`
    """
    where = f"{folder}: peft_type={config['peft_type']!r}"
    for name, value in config.items():
        known = name in FREE or (name.startswith("encoder_") and config["peft_type"] == "P_TUNING")
        plain = value in (None, False) or value in ({}, []) or (name == "num_transformer_submodules" and value == 1)
        if not known and not plain:
            raise UsageError(f"{folder}: {name}={value!r} cannot be read: it may change what the adapter computes")
    _check(model, where)
    held = read_file(folder / weights)
    if held.keys() != {TENSOR}:
        raise UsageError(f"{folder / weights} holds {', '.join(sorted(held)) or 'no tensor'}, and {TENSOR} is meant")
    prompt, width = held[TENSOR], model.stream.size
    if prompt.dim() != 2 or prompt.shape[1] != width or len(prompt) != config.get("num_virtual_tokens"):
        many = config.get("num_virtual_tokens")
        raise UsageError(f"{folder}: {TENSOR} is {tuple(prompt.shape)}, and {many} x {width} are meant")
    made, _ = attach(model, {WHERE: store("prompted", tokens=len(prompt))}, share=share)
    tensors = stored(made)
    like = tensors[f"{WHERE}.prompt"]
    tensors[f"{WHERE}.prompt"] = prompt.to(like.dtype)
    return fill(made, tensors, next(model.parameters()).device)


def prompt_of(model: Model, base: str, task: str | None) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The adapter_config.json and the tensors of the virtual tokens that stand before the texts of a model."""
    _check(model, base)
    prompt = dict(model.named_parameters())[f"{WHERE}.prompt"].detach()
    config = {
        "peft_type": KINDS[0], "base_model_name_or_path": base, "task_type": task, "inference_mode": True,
        "num_virtual_tokens": len(prompt), "token_dim": prompt.shape[1], "num_transformer_submodules": 1,
        "num_layers": len(model.depth.plan()), "num_attention_heads": _heads(model), "prompt_tuning_init": "RANDOM",
    }  # fmt: skip
    return config, {TENSOR: prompt.cpu().clone().contiguous()}


def _heads(model: Model) -> int:
    """Heads of attention, which peft wants to know and does not use; one where there are none."""
    found = next((path.removesuffix("kv") for path in model.axes if path.endswith(".kv")), None)
    return 1 if found is None else model.axes[f"{found}kv"].size * model.axes[f"{found}group"].size


def _check(model: Model, where: str) -> None:
    """Refuse a model whose texts theirs and ours would begin otherwise."""
    if not model.of_ids or not model.causal or WHERE not in {part.path for part in model.parts()}:
        raise UsageError(f"{where}: virtual tokens stand before the texts of models that write, looked up in a table")
    scale = dict(model.stem.spec.settings).get("scale", 1.0)
    if scale != 1:
        raise UsageError(f"{where}: this model counts what it looks up {scale:g} times, and theirs may not count that")
    if not all(torch.isfinite(p).all() for path, p in model.named_parameters() if path == f"{WHERE}.prompt"):
        raise UsageError(f"{where}: the virtual tokens are not finite")
