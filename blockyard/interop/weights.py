"""The tensors of a folder of safetensors: one file, or several with an index. Nothing is unpickled."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from blockyard.core.errors import UsageError
from blockyard.core.files import read_json

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"


def tensor_names(folder: Path) -> list[str]:
    """The names of all tensors of a model folder; none of them is read."""
    if not (folder / SINGLE).exists() and (folder / INDEX).exists():
        return list(_files(folder))
    with _opened(_weights(folder)) as file:
        return list(file.keys())


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a model folder, by name, as it is stored."""
    if not (folder / SINGLE).exists() and (folder / INDEX).exists():
        return _read_shards(folder)
    return _read(_weights(folder))


def read_file(path: Path) -> dict[str, Tensor]:
    """Every tensor of one file, by name."""
    if not path.exists():
        pickled = next((p.name for pattern in ("*.bin", "*.pt", "*.pth") for p in path.parent.glob(pattern)), None)
        why = f"; {pickled} is a pickle, which is never opened" if pickled else ""
        raise UsageError(f"{path} is missing{why}")
    return _read(path)


def _weights(folder: Path) -> Path:
    if (folder / SINGLE).exists():
        return folder / SINGLE
    pickled = next((p.name for pattern in ("*.bin", "*.pt", "*.pth") for p in folder.glob(pattern)), None)
    why = f"{pickled} is a pickle, which is never opened; save it as safetensors" if pickled else f"{SINGLE} is missing"
    raise UsageError(f"{folder} holds no weights: {why}")


def _files(folder: Path) -> dict[str, str]:
    """The shard of every tensor."""
    files = read_json(folder / INDEX).get("weight_map")
    if not isinstance(files, dict) or not all(isinstance(p, str) and Path(p).name == p for p in files.values()):
        raise UsageError(f"{folder / INDEX} is damaged: weight_map does not name files of this folder")
    return files


def _read_shards(folder: Path) -> dict[str, Tensor]:
    files = _files(folder)
    tensors: dict[str, Tensor] = {}
    for shard in sorted(set(files.values())):
        if not (folder / shard).exists():
            raise UsageError(f"{folder} is not complete: {shard} is missing")
        tensors |= _read(folder / shard)
    if missing := sorted(files.keys() - tensors.keys()):
        raise UsageError(f"{folder} is not complete: no shard has {missing[0]}, which {INDEX} names")
    return tensors


def _read(path: Path) -> dict[str, Tensor]:
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
