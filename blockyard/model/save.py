"""A model in a folder: config.json (its spec), safetensors shards with their checksums, tokenizer.json if it has one.

Nothing is unpickled, no code comes from a checkpoint, nothing reaches for a network. A parameter that is used twice
is stored once and comes back used twice. The folder appears whole or not at all.
"""

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from blockyard.core.errors import UsageError
from blockyard.core.spec import FORMAT, Spec
from blockyard.model.model import Model, build

SHARD_BYTES = 2 << 30


def save_model(model: Model, folder: str | Path, *, tokenizer: bytes | None = None) -> Path:
    """Write the model; an existing folder of a model is replaced, any other one refused."""
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()) and not (folder / "config.json").exists():
        raise UsageError(f"{folder} is not empty and holds no model; name another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        files = {}
        for number, shard in enumerate(_shards(stored(model))):
            data = save({name: tensor.detach().cpu().contiguous() for name, tensor in shard.items()})
            name = f"model-{number:05d}.safetensors"
            (fresh / name).write_bytes(data)
            files[name] = hashlib.sha256(data).hexdigest()
        config = {"format": FORMAT, "spec": model.spec.to_json(), "files": files}
        (fresh / "config.json").write_text(json.dumps(config, indent=1))
        (fresh / "generation_config.json").write_text(json.dumps({"format": FORMAT}))
        if tokenizer is not None:
            (fresh / "tokenizer.json").write_bytes(tokenizer)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(fresh, folder)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    return folder


def stored(model: Model) -> dict[str, Tensor]:
    """What a checkpoint holds: parameters and buffers, each once."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _shards(tensors: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    shards: list[dict[str, Tensor]] = [{}]
    room = SHARD_BYTES
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        if shards[-1] and size > room:
            shards.append({})
            room = SHARD_BYTES
        shards[-1][name] = tensor
        room -= size
    return shards


def read_config(folder: str | Path) -> dict[str, Any]:
    """The checked config.json of a saved model."""
    path = Path(folder) / "config.json"
    if not path.exists():
        raise UsageError(f"{folder} holds no model: config.json is missing")
    try:
        config = json.loads(path.read_text())
        number = config["format"]
    except (ValueError, KeyError, TypeError, UnicodeDecodeError):
        raise UsageError(f"{path} is damaged: it is not the JSON of a saved model") from None
    if number > FORMAT:
        raise UsageError(f"{path} has format {number}; this blockyard reads up to {FORMAT}: upgrade it")
    return config


def load_model(folder: str | Path, device: str | torch.device = "cpu") -> Model:
    """The model that `save_model` wrote, with the same numbers."""
    config, folder = read_config(folder), Path(folder)
    tensors: dict[str, Tensor] = {}
    for name, checksum in config["files"].items():
        path = folder / Path(name).name
        if not path.exists():
            raise UsageError(f"{folder} is not complete: {name} is missing")
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != checksum:
            raise UsageError(f"{path} is damaged: its checksum does not match config.json")
        try:
            tensors |= load(data)
        except SafetensorError as error:
            raise UsageError(f"{path} cannot be read: {error}") from None
    with torch.device("meta"):
        model = build(Spec.from_json(config["spec"]))
    return fill(model, tensors, device)


def fill(model: Model, tensors: dict[str, Tensor], device: str | torch.device = "cpu") -> Model:
    """A model built on the meta device with these tensors as its own; shared ones stay shared."""
    wanted = stored(model)
    if wanted.keys() != tensors.keys():
        missing, extra = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
        raise UsageError(f"the checkpoint does not fit its spec: missing {missing[:3]}, not known {extra[:3]}")
    made = {}
    for name, meta in wanted.items():
        if meta.shape != tensors[name].shape:
            raise UsageError(
                f"{name} is {tuple(tensors[name].shape)} in the checkpoint, {tuple(meta.shape)} in the spec"
            )
        kind = nn.Parameter if isinstance(meta, nn.Parameter) else nn.Buffer
        made[id(meta)] = kind(tensors[name].to(device))
    for module in model.modules():
        owned = [*module.named_parameters(recurse=False, remove_duplicate=False)]
        for name, old in [*owned, *module.named_buffers(recurse=False, remove_duplicate=False)]:
            setattr(module, name, made[id(old)])
    return model
