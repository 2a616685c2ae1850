"""The tensors of a folder of safetensors: one file, or several with an index. Nothing is unpickled."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from blockyard.core.errors import UsageError

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError):
        value = None
    if not isinstance(value, dict):
        raise UsageError(f"{path} is damaged: it is not a JSON object")
    return value


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a model folder, by name, as it is stored."""
    if (folder / SINGLE).exists():
        return _read(folder / SINGLE)
    if (folder / INDEX).exists():
        return _read_shards(folder)
    pickled = next((p.name for pattern in ("*.bin", "*.pt", "*.pth") for p in folder.glob(pattern)), None)
    why = f"{pickled} is a pickle, which is never opened; save it as safetensors" if pickled else f"{SINGLE} is missing"
    raise UsageError(f"{folder} holds no weights: {why}")


def _read_shards(folder: Path) -> dict[str, Tensor]:
    places = read_json(folder / INDEX).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(p, str) and Path(p).name == p for p in places.values()):
        raise UsageError(f"{folder / INDEX} is damaged: weight_map does not name files of this folder")
    tensors: dict[str, Tensor] = {}
    for shard in sorted(set(places.values())):
        if not (folder / shard).exists():
            raise UsageError(f"{folder} is not complete: {shard} is missing")
        tensors |= _read(folder / shard)
    if missing := sorted(places.keys() - tensors.keys()):
        raise UsageError(f"{folder} is not complete: no shard has {missing[0]}, which {INDEX} names")
    return tensors


def _read(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
