"""A model as llama.cpp runs it: its family, its settings, and its tensors under the names of the `gguf` library."""

import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from torch import Tensor

from blockyard.core import registry
from blockyard.core.errors import UsageError
from blockyard.interop import llama_cpp
from blockyard.interop.counterpart import Unlike, counterpart
from blockyard.interop.runs import Runs, factors, refuse_others, settings
from blockyard.model.model import Model

ENDS = (".weight", ".bias")


@dataclass(frozen=True)
class Ran:
    """What a file for llama.cpp says.

    arch       the architecture           settings   of it, by their whole names
    tensors    by their names there       near       what is computed nearly, in words
    """

    arch: str
    settings: dict[str, Any]
    tensors: dict[str, Tensor]
    near: list[str]


def families() -> list[str]:
    """The model types of transformers that llama.cpp runs, those with a recipe of ours first."""
    recipes = registry.entries("recipe")
    return sorted((each.name for each in pkgutil.iter_modules(llama_cpp.__path__)), key=lambda x: (x not in recipes, x))


def library() -> Any:
    """The gguf library, loaded only where it is asked for."""
    return import_module("gguf")


def ran(model: Model) -> Ran:
    """The first family that says the same as the model and that llama.cpp computes; UsageError, with the reason."""
    unlike: list[Unlike] = []
    others: list[UsageError] = []
    for name in families():
        runs: Runs = import_module(f"{llama_cpp.__name__}.{name}").RUNS
        try:
            found = counterpart(model, name)
            near = refuse_others(runs, found.config)
            said = settings(runs, found.config)
            return Ran(runs.arch, said, _tensors(runs, found.config, found.tensors), near)
        except Unlike as error:
            unlike.append(error)
        except UsageError as error:
            others.append(error)
    raise others[0] if others else _no_family(max(unlike, key=lambda error: error.shared))


def _no_family(why: Unlike) -> UsageError:
    return UsageError(f"gguf: llama.cpp runs no such model; {why}")


def _tensors(runs: Runs, config: Mapping[str, Any], theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Every tensor under its name there, as it is kept there."""
    gguf = library()
    (arch,) = [each for each, name in gguf.MODEL_ARCH_NAMES.items() if name == runs.arch]
    layers = max(config[word] for word in ("num_hidden_layers", "n_layer") if word in config)
    table = gguf.get_tensor_name_map(arch, layers)
    found = dict[str, Tensor]()
    for name, tensor in theirs.items():
        known = next((name.removesuffix(end) + new for end, new in runs.renamed.items() if name.endswith(end)), name)
        place = table.get_name(known, try_suffixes=ENDS)
        if place is None:
            raise UsageError(f"llama.cpp: {runs.arch} has no place for {name}")
        change = next((change for end, change in runs.changes.items() if name.endswith(end)), None)
        # a change is worked out in single precision at least
        found[place] = tensor if change is None else change(tensor.double(), config).float()
    if runs.whole and "output.weight" not in found:
        found["output.weight"] = found["token_embd.weight"]
    return found | {name: tensor.float() for name, tensor in factors(config).items()}
