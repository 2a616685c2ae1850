"""A model of ours as one of transformers' families: its config.json and its tensors, or why there is none."""

import json
from collections.abc import Mapping
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
    """A family of theirs, with the settings and the tensors that make it this model, and the class that reads them."""

    model_type: str
    config: dict[str, Any]
    tensors: dict[str, Tensor]
    architecture: str


def counterpart(model: Model, model_type: str | None = None) -> Counterpart:
    """The family that a model is of: the named one, or the first that says the same, those with a recipe of ours first.

    UsageError, with the first difference, where it is of none.
    """
    if kept := next((path for path, _ in model.named_buffers()), None):
        raise UsageError(f"no family of transformers keeps {kept}")
    known, recipes = model_types(), registry.entries("recipe")
    if model_type is not None and model_type not in known:
        raise unknown("model_type", model_type, known)
    tried = [model_type] if model_type else sorted(known, key=lambda name: (name not in recipes, name))
    reasons: list[Unlike] = []
    for name in tried:
        for family in families(name):
            try:
                config, again, cut = settings(model, family)
                return Counterpart(name, config, tensors(model, again, family, cut), family.architecture)
            except Unlike as error:
                reasons.append(error)
    raise max(reasons, key=lambda error: error.shared)


@dataclass(frozen=True)
class Family:
    """A class of theirs: its model type, how that reads a config.json, and what this class calls its tensors."""

    model_type: str
    module: Any
    names: Names
    architecture: str
    made: str = ""

    @property
    def name(self) -> str:
        """What it is called where it is refused: the class, where the model type has several."""
        return self.made or self.model_type


def families(model_type: str) -> list[Family]:
    """The classes of a model type that are read: the one for texts, or those that `architectures` names."""
    module = import_module(f"{hf.__name__}.{model_type}")
    if isinstance(module.NAMES, Names):
        usual = getattr(module, "ARCHITECTURE", f"{model_type.title()}ForCausalLM")
        return [Family(model_type, module, module.NAMES, usual)]
    return [Family(model_type, module, names, made, made) for made, names in module.NAMES.items()]


def main_kind(model: Model) -> str:
    """The kind of number that most of the model is in, as "float32"."""
    counts: dict[torch.dtype, int] = {}
    for tensor in model.parameters():
        counts[tensor.dtype] = counts.get(tensor.dtype, 0) + tensor.numel()
    return str(max(counts, key=lambda kind: counts[kind])).removeprefix("torch.")


class Unlike(UsageError):
    """A model is of no such family; `shared`: how many kinds of parts the two have in common, at most."""

    def __init__(self, name: str, why: str, shared: int = 0) -> None:
        super().__init__(f"this model is no {name} of transformers: {why}")
        self.shared = shared


def settings(model: Model, family: Family) -> tuple[dict[str, Any], Model, dict[str, int]]:
    """The config.json that our own reader makes the same model of, what it makes, without numbers, and how many first
    rows of a tensor it leaves out."""
    said, layered = words(model, getattr(family.module, "WORDS", None)), by_type(model)
    failed: list[Unlike] = []
    tried = [said, said | {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}]  # where no layer turns
    if layered is not ABSENT:
        tried[1:] = [said | {"rope_parameters": layered}, *tried[1:]]
    if isinstance(said.get("rope_parameters"), dict):  # whole heads turn, and the class turns a part by itself
        tried.append(said | {"rope_parameters": {"partial_rotary_factor": 1.0, **said["rope_parameters"]}})
    for config in tried:
        try:
            written = _asked(family, config, model)
            fields = _fields(family, written, model)
            spec = family.module.spec(fields)
            fields.finish()
            again = on_meta(spec)
        except (UsageError, ArithmeticError) as error:
            failed.append(Unlike(family.name, str(error)))
            continue
        found = difference(model, again)
        if found is None:
            return written, again, fields.cut
        failed.append(Unlike(family.name, found, len(_kinds(model) & _kinds(again))))
    raise max(failed, key=lambda error: error.shared)


def _kinds(model: Model) -> set[str]:
    return {f"{part.spec.kind}:{part.spec.name}" for part in model.parts()}


def _asked(family: Family, config: dict[str, Any], model: Model) -> dict[str, Any]:
    """Of all words those that a family asks for."""
    fields = _fields(family, config, model)
    family.module.spec(fields)
    free = fields.free[len(Fields({}, "").free) :]  # what it knows and does not read: of use to others
    named = [word for word in config if word in fields.seen or any(fnmatchcase(word, pattern) for pattern in free)]
    return {word: config[word] for word in named}


def _fields(family: Family, config: dict[str, Any], model: Model) -> Fields:
    """The words as our own reader gets them from a folder of this class."""
    deepest = max(len(each.depth.plan()) for each in (model, *model.towers.values()) if isinstance(each, Model))
    own = {path for path, _ in model.named_parameters()}
    ends = frozenset(source for path, source in family.names.ends.items() if path in own)
    said = json.loads(json.dumps(config))
    return Fields(said, "config.json", held=deepest, tensors=ends, made=family.made)


def tensors(model: Model, again: Model, family: Family, cut: Mapping[str, int]) -> dict[str, Tensor]:
    """Their tensors, which our own reader makes the same numbers of, to the last bit.

    again   the same model with the blocks that the family calls by its own names
    cut     how many first rows of a tensor are theirs alone: they are written as zeros
    """
    names, whole = family.names, len(_kinds(model)) + 1  # the parts are the same: no other class is nearer
    ours = {path: tensor.detach() for path, tensor in model.named_parameters()}
    for path, tensor in ours.items():
        if tensor.dtype not in KINDS:
            raise Unlike(family.name, f"{path} holds {tensor.dtype}", whole)
    try:
        theirs = names.invert(again, ours)
        back = names.convert(again, theirs, family.model_type)
    except UsageError as error:
        raise Unlike(family.name, str(error), whole) from None
    for path, tensor in ours.items():
        if not torch.equal(back[path], tensor):
            source = names.sources(again)[path]
            raise Unlike(family.name, f"{path} does not come back as it was from {source}", whole)
    for name, rows in cut.items():
        tensor = theirs[name]
        theirs[name] = torch.cat([tensor.new_zeros(rows, *tensor.shape[1:]), tensor])
    return theirs
