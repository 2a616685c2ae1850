"""A model of ours as one of transformers' families: its config.json and its tensors, or why there is none."""

import json
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from blockyard.core import registry
from blockyard.core.errors import UsageError, unknown
from blockyard.interop import hf
from blockyard.interop.fields import Fields
from blockyard.interop.folder import model_types
from blockyard.interop.names import Names
from blockyard.interop.same import difference
from blockyard.interop.sources import KINDS
from blockyard.interop.words import ABSENT, by_type, words
from blockyard.model.count import on_meta
from blockyard.model.model import Model


@dataclass(frozen=True)
class Counterpart:
    """A family of theirs, with the settings and the tensors that make it this model."""

    model_type: str
    config: dict[str, Any]
    tensors: dict[str, Tensor]


def counterpart(model: Model, model_type: str | None = None) -> Counterpart:
    """The family that a model is of: the named one, or the first that says the same, those with a recipe of ours first.

    UsageError, with the first difference, where it is of none.
    """
    if kept := next((path for path, _ in model.named_buffers()), None):
        raise UsageError(f"no family of transformers keeps {kept}")
    known = [name for name in model_types() if isinstance(import_module(f"{hf.__name__}.{name}").NAMES, Names)]
    if model_type is not None and model_type not in known:
        raise unknown("model_type", model_type, known)
    recipes = registry.entries("recipe")
    tried = [model_type] if model_type else sorted(known, key=lambda name: (name not in recipes, name))
    reasons: list[Unlike] = []
    for name in tried:
        try:
            config, again = settings(model, name)
            return Counterpart(name, config, tensors(model, again, name))
        except Unlike as error:
            reasons.append(error)
    raise max(reasons, key=lambda error: error.shared)


class Unlike(UsageError):
    """A model is of no such family; `shared`: how many kinds of parts the two have in common, at most."""

    def __init__(self, model_type: str, why: str, shared: int = 0) -> None:
        super().__init__(f"this model is no {model_type} of transformers: {why}")
        self.shared = shared


def settings(model: Model, model_type: str) -> tuple[dict[str, Any], Model]:
    """The config.json that our own reader makes the same model of, and what it makes, without numbers."""
    module, layers = import_module(f"{hf.__name__}.{model_type}"), len(model.depth.plan())
    said, layered = words(model), by_type(model)
    failed: list[Unlike] = []
    tried = [said, said | {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}]  # where no layer turns
    if layered is not ABSENT:
        tried[1:] = [said | {"rope_parameters": layered}, *tried[1:]]
    if isinstance(said.get("rope_parameters"), dict):  # whole heads turn, and the class turns a part by itself
        tried.append(said | {"rope_parameters": {"partial_rotary_factor": 1.0, **said["rope_parameters"]}})
    for config in tried:
        try:
            written = _asked(module, config, layers)
            again = on_meta(_read(module, written, layers))
        except (UsageError, ArithmeticError) as error:
            failed.append(Unlike(model_type, str(error)))
            continue
        found = difference(model, again)
        if found is None:
            return written, again
        failed.append(Unlike(model_type, found, len(_kinds(model) & _kinds(again))))
    raise max(failed, key=lambda error: error.shared)


def _kinds(model: Model) -> set[str]:
    return {f"{part.spec.kind}:{part.spec.name}" for part in model.parts()}


def _asked(module: Any, config: dict[str, Any], layers: int) -> dict[str, Any]:
    """Of all words those that a family asks for."""
    fields = Fields(json.loads(json.dumps(config)), "config.json", held=layers)
    module.spec(fields)
    free = fields.free[len(Fields({}, "").free) :]  # what it knows and does not read: of use to others
    named = [word for word in config if word in fields.seen or any(fnmatchcase(word, pattern) for pattern in free)]
    return {word: config[word] for word in named}


def _read(module: Any, config: dict[str, Any], layers: int) -> Any:
    fields = Fields(json.loads(json.dumps(config)), "config.json", held=layers)
    found = module.spec(fields)
    fields.finish()
    return found


def tensors(model: Model, again: Model, model_type: str) -> dict[str, Tensor]:
    """Their tensors, which our own reader makes the same numbers of, to the last bit.

    again   the same model with the blocks that the family calls by its own names
    """
    names = import_module(f"{hf.__name__}.{model_type}").NAMES
    assert isinstance(names, Names)
    ours = {path: tensor.detach() for path, tensor in model.named_parameters()}
    for path, tensor in ours.items():
        if tensor.dtype not in KINDS:
            raise Unlike(model_type, f"{path} holds {tensor.dtype}")
    try:
        theirs = names.invert(again, ours)
    except UsageError as error:
        raise Unlike(model_type, str(error)) from None
    back = names.convert(again, theirs, model_type)
    for path, tensor in ours.items():
        if not torch.equal(back[path], tensor):
            raise Unlike(model_type, f"{path} does not come back as it was from {names.sources(again)[path]}")
    return theirs
