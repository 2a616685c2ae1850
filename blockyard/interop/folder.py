"""A model from a folder, ours or one that transformers wrote."""

import pkgutil
from importlib import import_module
from pathlib import Path

import torch

from blockyard.core.errors import UsageError, unknown
from blockyard.interop import hf
from blockyard.interop.fields import Fields
from blockyard.interop.names import Names
from blockyard.interop.weights import read_json, read_tensors
from blockyard.model.count import on_meta
from blockyard.model.model import Model
from blockyard.model.save import fill, load_model


def load(path: str | Path, device: str | torch.device = "cpu") -> Model:
    """The model in a folder: one that we saved, or one that transformers saved as safetensors."""
    config = _config(Path(path))
    if "format" in config:
        return load_model(path, device)
    if "model_type" not in config:
        raise UsageError(f"{Path(path) / 'config.json'} is not known: it has neither format (ours) nor model_type")
    return from_transformers(path, device=device)


def from_transformers(
    folder: str | Path, *, dtype: torch.dtype | None = None, device: str | torch.device = "cpu",
    ignore: tuple[str, ...] = (),
) -> Model:  # fmt: skip
    """The model of a folder with config.json and safetensors, as a recipe of ours with the same numbers.

    dtype    None: as stored
    ignore   settings of config.json that we do not know and that change nothing here
    """
    folder = Path(folder)
    config = _config(folder)
    name = config.get("model_type")
    known = model_types()
    if name not in known:
        raise unknown("model_type", str(name), known)
    module = import_module(f"{hf.__name__}.{name}")
    fields = Fields(config, str(folder / "config.json"), ignore)
    spec = module.spec(fields)
    fields.finish()
    model, names = on_meta(spec), module.NAMES
    assert isinstance(names, Names)
    tensors = names.convert(model, read_tensors(folder), str(folder))
    return fill(model, {path: tensor.to(dtype) for path, tensor in tensors.items()}, device)


def model_types() -> list[str]:
    """The model types of transformers that can be imported."""
    return [module.name for module in pkgutil.iter_modules(hf.__path__)]


def _config(folder: Path) -> dict[str, object]:
    path = folder / "config.json"
    if not path.exists():
        raise UsageError(f"{folder} holds no model: config.json is missing")
    return read_json(path)
