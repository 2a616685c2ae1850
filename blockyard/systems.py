"""Recipes by name: from what a user types to a spec, and from a spec to a model. Needs no torch until it builds."""

from typing import TYPE_CHECKING, Any

from blockyard.core import registry
from blockyard.core.errors import UsageError, unknown
from blockyard.core.settings import checked
from blockyard.core.spec import Spec, current_name, parse_value

if TYPE_CHECKING:
    from blockyard.model.model import Model


def recipes() -> list[str]:
    """The names of all recipes."""
    return list(registry.entries("recipe"))


def spec(name: str, size: str | None = None, **overrides: Any) -> Spec:
    """The system of a recipe, without building it.

    name        a recipe: `recipes()` lists them; `-` and `_` are the same
    size        one of the recipe's sizes, as "tiny"; none: the recipe's own defaults
    overrides   a word is an argument of the recipe, `kind.setting` a setting of every part of that kind that has it

    What nobody knows, and a value that a setting does not take, is a UsageError.
    """
    entry = registry.find("recipe", name)
    module = entry.load()
    arguments: dict[str, Any] = {}
    if size is not None:
        if size not in module.sizes:
            raise unknown(f"size of {entry.name}", size, module.sizes)
        arguments |= module.sizes[size]
    overrides = {current_name(entry, key): value for key, value in overrides.items()}
    for key, value in overrides.items():
        if "." not in key:
            if key not in entry.arguments:
                raise unknown(f"argument of {entry.name}", key, entry.arguments)
            arguments[key] = entry.settings[key].check(value)
    system = checked(module.recipe(**arguments))
    for key, value in overrides.items():
        if "." in key:
            system = system.override(key, value)
    return system


def parse_target(text: str) -> tuple[str, str, dict[str, Any]]:
    """`label=name:key=value,key=value` -> (label, name, overrides); the label and the overrides may be left out."""
    head, _, tail = text.partition(":")
    label, equals, name = head.partition("=")
    if not equals:
        label, name = head, head
    if not label or not name:
        raise UsageError(f"target {text!r}: expected NAME, LABEL=NAME or LABEL=NAME:key=value,key=value")
    overrides: dict[str, Any] = {}
    for item in filter(None, tail.split(",")):
        key, equals, value = item.partition("=")
        if not equals:
            raise UsageError(f"target {text!r}: {item!r} is not key=value")
        overrides[key.strip()] = parse_value(value.strip())
    return label, name, overrides


def build(what: str | Spec, size: str | None = None, *, seed: int = 0, **overrides: Any) -> "Model":
    """The model of a recipe or a spec: `build("llama", size="tiny", **{"mixer.heads": 2})`.

    what        a recipe by name, or a spec; of a spec `size` is not asked
    seed        the first numbers are a function of it and of each tensor's path
    overrides   as for `spec`
    """
    from blockyard.model.model import build as build_spec

    if isinstance(what, Spec):
        for key, value in overrides.items():
            what = what.override(key, value)
        return build_spec(what, seed)
    return build_spec(spec(what, size, **overrides), seed)
