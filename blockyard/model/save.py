"""A model in a folder: config.json (its spec), safetensors shards, tokenizer.json if it has one, what its task keeps.

Nothing is unpickled, no code comes from a checkpoint, nothing reaches for a network. A parameter that is used twice
is stored once and comes back used twice. The folder holds a whole model or none, and files of others stay in it.

    config.json    format 1    "format", "spec", "files": the shards with their sha256
                   format 2    every file under "files", under "gone" those that it took the place of, and "checksum"
                               over all of it
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from blockyard.core.errors import UsageError
from blockyard.core.files import digest_of, is_aside, is_missing, read_document, read_file, sealed, write_folder
from blockyard.core.spec import Spec
from blockyard.model.find import no_model
from blockyard.model.model import Model, build

FORMAT = 2
ALIGNED = 64  # bytes
UNLISTED = ("tokenizer.json", "generation_config.json")  # what format 1 left beside the files of its list
SHARD_BYTES = 2 << 30


def save_model(
    model: Model, folder: str | Path, *, tokenizer: bytes | None = None, beside: Mapping[str, bytes] | None = None
) -> Path:
    """Write the model and return its folder. A model that we saved there is replaced, anything else refused.

    tokenizer    the content of a tokenizer.json, kept as it is
    beside       other files by name, kept as they are: what is needed to use the model as it was trained
    """
    folder = Path(folder)

    def files() -> Iterator[tuple[str, bytes]]:
        for number, shard in enumerate(_shards(stored(model))):
            tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in shard.items()}
            yield f"model-{number:05d}.safetensors", save(tensors)
        if tokenizer is not None:
            yield "tokenizer.json", tokenizer
        yield from (beside or {}).items()

    def config(files: dict[str, str], gone: dict[str, str]) -> bytes:
        return sealed({"format": FORMAT, "spec": model.spec.to_json(), "files": files, "gone": gone})

    write_folder(folder, "config.json", files(), config, lambda: _written(folder))
    return folder


def _written(folder: Path) -> dict[str, str]:
    """The files of the model that stands in this folder; a folder of anything else is refused."""
    names = [path.name for path in folder.iterdir() if not is_aside(path.name)]
    if not names:
        return {}
    try:
        config = read_config(folder)
    except UsageError as error:
        raise UsageError(f"{folder} is not empty and holds no model of ours ({error}); name another folder") from None
    if config["format"] == 1:
        also = {name: digest_of(folder / name) for name in UNLISTED if name in names}
    else:  # a process that was killed did not come to remove them; who wrote another of that name keeps it
        also = {name: told for name, told in config["gone"].items() if digest_of(folder / name) == told}
    return {**also, **config["files"]}


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
    if is_missing(path):
        raise no_model(folder)
    config = read_document(path, FORMAT, sealed_since=2)
    if not {"format", "spec", "files"} <= config.keys():
        raise UsageError(f"{path} is damaged, or not the config.json of a model that blockyard saved")
    files = config["files"]
    if not isinstance(files, dict) or not all(
        isinstance(digest, str) and Path(name).name == name for name, digest in files.items()
    ):
        raise UsageError(f"{path} is damaged: files does not name files of this folder")
    return config


def load_model(folder: str | Path, device: str | torch.device = "cpu") -> Model:
    """The model that `save_model` wrote, with the same numbers."""
    config, folder = read_config(folder), Path(folder)
    tensors: dict[str, Tensor] = {}
    for name, digest in config["files"].items():
        data = read_file(folder, name, digest)
        if name.endswith(".safetensors"):
            try:
                tensors |= load(data)
            except SafetensorError as error:
                raise UsageError(f"{folder / name} cannot be read: {error}") from None
    model = _outline(config["spec"], folder / "config.json")
    return fill(model, _renamed(model, tensors), device)


def _renamed(model: Model, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors by their names of today, where a part of the model calls what it owns by others than it did."""
    for part in model.parts():
        store = getattr(part, "store", None)
        kept = {} if store is None else {store.called: store.name}
        for old, new in {**part.renamed, **kept}.items():
            before = re.compile(rf"^{re.escape(part.path)}\.{old}(?=\.|$)")
            tensors = {before.sub(f"{part.path}.{new}", name, 1): tensor for name, tensor in tensors.items()}
    return tensors


def _outline(spec: Any, path: Path) -> Model:
    """The model of a stored spec, without numbers."""
    try:
        with torch.device("meta"):
            return build(Spec.from_json(spec))
    except UsageError:
        raise
    except Exception as error:  # format 1 has no checksum over its spec: anything may stand there
        why = str(error).partition("\n")[0]
        raise UsageError(f"{path} is damaged: its spec cannot be built ({type(error).__name__}: {why})") from error


def _aligned(tensor: Tensor) -> Tensor:
    """The same numbers where a tensor of the framework's own begins: views of a file begin anywhere, and sums over them
    are taken in another order, to other last bits."""
    return tensor if tensor.data_ptr() % ALIGNED == 0 else tensor.clone()


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
        made[id(meta)] = kind(_aligned(tensors[name].to(device)))
    for module in model.modules():
        owned = [*module.named_parameters(recurse=False, remove_duplicate=False)]
        for name, old in [*owned, *module.named_buffers(recurse=False, remove_duplicate=False)]:
            setattr(module, name, made[id(old)])
    return model
