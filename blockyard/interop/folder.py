"""A model from a folder, ours or one that transformers wrote."""

import pkgutil
import warnings
from collections.abc import Iterable
from functools import reduce
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor

from blockyard.core.errors import UsageError, unknown
from blockyard.core.files import is_missing, read_json
from blockyard.interop import hf
from blockyard.interop.fields import Fields
from blockyard.interop.names import Names
from blockyard.interop.own import OWN, load_own
from blockyard.interop.weights import read_tensors, tensor_names
from blockyard.model.count import on_meta
from blockyard.model.find import find_model
from blockyard.model.model import Model
from blockyard.model.save import fill, load_model


def load(path: str | Path, device: str | torch.device = "cpu") -> Model:
    """The model in a folder: one that we saved, or one that transformers saved as safetensors.

    path     the folder, or OUT:ARM: the best run of an arm of the comparison in OUT
    device   where its tensors lie, as "cuda"
    """
    path = find_model(path)
    config = _config(path)
    if "format" in config:
        return load_model(path, device)
    if "model_type" not in config:
        raise UsageError(f"{path / 'config.json'} is not known: it has neither format (ours) nor model_type")
    return from_transformers(path, device=device)


def from_transformers(
    folder: str | Path, *, dtype: torch.dtype | None = None, device: str | torch.device = "cpu",
    ignore: tuple[str, ...] = (),
) -> Model:  # fmt: skip
    """The model of a folder with config.json and safetensors, as a recipe of ours with the same numbers.

    dtype    None: as stored; weights of several kinds become the widest of them, with a warning
    ignore   settings of config.json that we do not know and that change nothing here
    """
    folder = Path(folder)
    config = _config(folder)
    name = config.get("model_type")
    known = model_types()
    if name == OWN:
        return load_own(folder, config, device, dtype)
    if name not in known:
        raise unknown("model_type", str(name), known)
    module = import_module(f"{hf.__name__}.{name}")
    names = module.NAMES
    assert isinstance(names, Names)
    fields = Fields(config, str(folder / "config.json"), ignore, names.layers(tensor_names(folder)))
    spec = module.spec(fields)
    fields.finish()
    model, theirs = on_meta(spec), read_tensors(folder)
    tensors = names.convert(model, theirs, str(folder))
    dtype = dtype or _kind(names.canonical(theirs).values(), folder)
    return fill(model, {path: _cast(tensor, dtype, path, folder) for path, tensor in tensors.items()}, device)


def _kind(tensors: Iterable[Tensor], folder: Path) -> torch.dtype:
    """The kind of number that holds all of these tensors."""
    kinds = sorted({tensor.dtype for tensor in tensors}, key=str)
    widest = reduce(torch.promote_types, kinds)
    if len(kinds) > 1:
        many = " and ".join(str(kind).removeprefix("torch.") for kind in kinds)
        named = str(widest).removeprefix("torch.")
        warnings.warn(f"{folder} holds weights in {many}: all were made {named}", stacklevel=3)
    return widest


def _cast(tensor: Tensor, dtype: torch.dtype, path: str, folder: Path) -> Tensor:
    made = tensor.to(dtype)
    if not made.isfinite().all():
        kind = str(dtype).removeprefix("torch.")
        why = f"does not fit {kind}" if tensor.isfinite().all() else "holds numbers that are not finite"
        raise UsageError(f"{folder}: {path} {why}")
    return made


def model_types() -> list[str]:
    """The model types of transformers that can be imported."""
    return [module.name for module in pkgutil.iter_modules(hf.__path__)]


def _config(folder: Path) -> dict[str, object]:
    path = folder / "config.json"
    if is_missing(path):
        raise UsageError(f"{folder} holds no model: config.json is missing")
    return read_json(path)
