"""A model from a folder, ours or one that transformers wrote."""

import pkgutil
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import reduce
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor

from blockyard.core.errors import UsageError, unknown
from blockyard.core.files import is_missing, read_json
from blockyard.interop import hf, peft
from blockyard.interop.fields import Fields
from blockyard.interop.names import Names
from blockyard.interop.own import OWN, load_own
from blockyard.interop.pixels import scaled
from blockyard.interop.weights import read_tensors, tensor_names
from blockyard.model.attachment import INDEX, home_of, load_attachment
from blockyard.model.count import on_meta
from blockyard.model.find import find_model, no_model
from blockyard.model.model import Model
from blockyard.model.save import fill, load_model


def load(path: str | Path, device: str | torch.device = "cpu") -> Model:
    """The model in a folder: one that we saved, one that transformers saved as safetensors, or what was attached to
    one of these and saved alone, on it.

    path     the folder, or OUT:ARM: the best run of an arm of the comparison in OUT
    device   where its tensors lie, as "cuda"
    """
    path = find_model(path)
    if is_missing(path / "config.json") and not is_missing(path / INDEX):
        return load_attachment(load(home_of(path), device), path)
    if is_missing(path / "config.json") and peft.is_peft(path):
        return load_peft(path, device=device)
    config = _config(path)
    if "format" in config:
        return load_model(path, device)
    if "model_type" not in config:
        raise UsageError(f"{path / 'config.json'} is not known: it has neither format (ours) nor model_type")
    return from_transformers(path, device=device)


def load_peft(adapter: str | Path, model: str | Path | None = None, device: str | torch.device = "cpu") -> Model:
    """The model of a folder that transformers saved, with an adapter of peft attached to it: LoRA, DoRA, IA3 or
    virtual tokens.

    adapter   the folder of adapter_config.json        model   that of the model; none: where the adapter says it lies
    device    where its tensors lie, as "cuda"
    """
    adapter = Path(adapter)
    if not peft.is_peft(adapter):
        raise UsageError(f"{adapter} holds no adapter of peft: {peft.CONFIG} is missing")
    folder = peft.base_of(adapter) if model is None else Path(model)
    return peft.put_on(load(folder, device), names_of(folder), adapter)


def load_onto(model: Model, home: str | Path, adapter: str | Path) -> Model:
    """A model with the adapter of a folder, of ours or of peft, on it; what stays is the model's own memory.

    model     it stays as it is        home   its folder        adapter   or OUT of `blockyard adapt`
    """
    path = find_model(adapter)
    if is_missing(path / INDEX) and not peft.is_peft(path):
        raise UsageError(f"{path} holds no adapter: neither {INDEX} (ours) nor {peft.CONFIG} (of peft)")
    if is_missing(path / INDEX):
        return peft.put_on(model, names_of(find_model(home)), path, share=True)
    return load_attachment(model, path, share=True)


def save_peft(adapter: str | Path, folder: str | Path) -> Path:
    """Write an adapter of ours, that stands on a model of transformers, as peft keeps it, and return its `folder`.

    adapter   the folder of a saved attachment, or OUT of `blockyard adapt`
    """
    found = find_model(adapter)
    home = home_of(found)
    made = _config(home).get("architectures")
    writes = isinstance(made, list) and str(made[0] if made else "").endswith(("ForCausalLM", "LMHeadModel"))
    return peft.save_adapter(load(found), names_of(home), folder, home, "CAUSAL_LM" if writes else None)


def names_of(folder: Path) -> Names:
    """What transformers calls the tensors of the model in a folder that it saved; of a body alone without its base."""
    config = _config(folder)
    name = config.get("model_type")
    if name not in model_types():
        raise UsageError(f"{folder} holds no model that transformers saved, and peft knows no other names")
    names = _made(import_module(f"{hf.__name__}.{name}").NAMES, config, str(folder / "config.json"))[1]
    if any(held.startswith(names.base) for held in tensor_names(folder)):
        return names
    ends = {path: source.removeprefix(names.base) for path, source in names.ends.items()}
    return replace(names, base="", ends=ends)


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
    where, held = str(folder / "config.json"), tensor_names(folder)
    made, names = _made(module.NAMES, config, where)
    fields = Fields(config, where, ignore, names.layers(held), frozenset(held), made)
    spec = module.spec(fields)
    fields.finish()
    model, theirs = on_meta(spec), names.canonical(read_tensors(folder))
    for name, rows in fields.cut.items():
        if name in theirs and theirs[name].dim():
            theirs[name] = theirs[name][rows:]
    if names.pixels:
        theirs = scaled(folder, theirs, names.pixels, tuple(model.example(1, 1).tokens.shape[1:]))
    tensors = names.convert(model, theirs, str(folder))
    dtype = dtype or _kind(theirs.values(), folder)
    return fill(model, {path: _cast(tensor, dtype, path, folder) for path, tensor in tensors.items()}, device)


def _made(names: Names | Mapping[str, Names], config: Mapping[str, object], where: str) -> tuple[str, Names]:
    """The class that wrote a folder, where its model type has several, and what that calls its tensors."""
    if isinstance(names, Names):
        return "", names
    made = config.get("architectures")
    name = made[0] if isinstance(made, list) and len(made) == 1 else None
    if not isinstance(name, str) or name not in names:
        raise UsageError(f"{where}: architectures={made!r} cannot be imported: known are {', '.join(names)}")
    return name, names[name]


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
        raise no_model(folder)
    return read_json(path)
