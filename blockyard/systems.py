"""Recipes by name: from what a user types to a spec, and from a spec to a model. Needs no torch until it builds."""

import re
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

from blockyard.core import numbers, registry
from blockyard.core.errors import UsageError, unknown
from blockyard.core.settings import check_settings, checked
from blockyard.core.spec import Spec, current_name, parse_value, split_words

if TYPE_CHECKING:
    from blockyard.model.model import Model


def recipes() -> list[str]:
    """The names of all recipes."""
    return list(registry.entries("recipe"))


def spec(name: str, size: str | None = None, **overrides: Any) -> Spec:
    """The system of a recipe, without building it.

    name        a recipe: `recipes()` lists them; `-` and `_` are the same
    size        one of the recipe's sizes, as "tiny"; none: the recipe's own defaults
    overrides   a word is an argument of the recipe or a kind of part, all of which become another (`mixer="gla"`);
                `kind.setting` is a setting of every part of that kind that has it

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
    words = {key: value for key, value in overrides.items() if "." not in key}
    for key, value in words.items():
        if key not in entry.arguments and key not in registry.KINDS:
            raise unknown(f"argument of {entry.name}", key, entry.arguments)
        if key in entry.arguments:
            arguments[key] = entry.settings[key].check(value)
    system = module.recipe(**arguments)
    for key, value in words.items():
        if key not in entry.arguments:
            system = system.swap(key, value)
    system = checked(system)
    for key, value in overrides.items():
        if "." in key:
            system = system.override(key, value)
    return system


SHORT = re.compile(r"[0-9.]+[kmgb]", re.IGNORECASE)  # an amount, as 200k
RUN_S = ("lr", "decay")  # settings of an optimiser that a run says


class Target(NamedTuple):
    """An arm as a user names it: a recipe with overrides, an optimiser and a schedule of its own, and what becomes of
    the trained model, in order."""

    label: str
    name: str
    overrides: dict[str, Any]
    then: tuple[Spec, ...] = ()
    optimiser: Spec | None = None
    schedule: str | None = None


def parse_arm(text: str) -> Target:
    """`label=name:key=value,key=value@optimiser:key=value|transform:key=value|...`: all but the name may be left out.

    Without a label an arm is called by its recipe, its optimiser and its transforms: `llama@mup|gptq:bits=4`.
    """
    first, *after = text.split("|")
    first, at, trainer = first.partition("@")
    label, name, overrides = parse_target(first)
    then = tuple(parse_transform(each) for each in after)
    if (after or at) and label == name and "=" not in first.partition(":")[0]:
        label = "|".join([f"{label}@{trainer.strip()}" if at else label, *(each.strip() for each in after)])
    optimiser, schedule = parse_optimiser(trainer) if at else (None, None)
    return Target(label, name, overrides, then, optimiser, schedule)


def parse_optimiser(text: str) -> tuple[Spec, str | None]:
    """`name:key=value,...` as a spec of an optimiser, with the settings that were given, checked; and the `schedule`
    of its rate, which every optimiser may be given."""
    head, _, tail = text.strip().partition(":")
    if not head:
        raise UsageError("an @ stands before an optimiser, as in llama@mup:base=64; see: blockyard list optimiser")
    entry = registry.find("optimiser", head)
    require_package(entry)
    settings = _settings(tail, f"optimiser {text!r}")
    schedule = settings.pop("schedule", None)
    given = check_settings(entry, settings)
    own = [key for key in given if key in RUN_S]
    if own:
        raise UsageError(f"optimiser {text!r}: {', '.join(own)} is said by the run, the same for all arms")
    return Spec.of("optimiser", entry.name, given), None if schedule is None else str(schedule)


def require_package(entry: registry.Entry) -> None:
    """Refuse what stands on a library that is not there; its file names it (`package`) and who brings it (`extra`)."""
    package = entry.constant("package")
    if package is not None and find_spec(package) is None:
        raise UsageError(
            f"{entry.kind}:{entry.name} needs a library: pip install 'blockyard[{entry.constant('extra')}]'"
        )


def parse_target(text: str) -> tuple[str, str, dict[str, Any]]:
    """`label=name:key=value,key=value` -> (label, name, overrides); the label and the overrides may be left out."""
    head, _, tail = text.partition(":")
    label, equals, name = head.partition("=")
    if not equals:
        label, name = head, head
    if not label or not name:
        raise UsageError(f"target {text!r}: expected NAME, LABEL=NAME or LABEL=NAME:key=value,key=value")
    return label, name, _settings(tail, f"target {text!r}")


def parse_transform(text: str) -> Spec:
    """`name:key=value,...` as a spec with every setting of the transform, checked, those that were not given too."""
    head, _, tail = text.strip().partition(":")
    if not head:
        raise UsageError("a | stands before a transform, as in llama|quantise:bits=4; see: blockyard list transform")
    entry = registry.find("transform", head)
    given = check_settings(entry, _settings(tail, f"transform {text!r}"))
    missing = [name for name, (_, default) in entry.arguments.items() if default is None and name not in given]
    if missing:
        raise UsageError(f"transform:{entry.name} needs {', '.join(f'{name}=...' for name in missing)}")
    usual = {name: setting.usual for name, setting in entry.settings.items() if setting.slot is not None}
    return Spec.of("transform", entry.name, {**entry.schema, **usual, **given})


def parse_blend(text: str) -> Spec:
    """`name:key=value,...` as a spec of a blend, with the settings that were given, checked."""
    head, _, tail = text.strip().partition(":")
    entry = registry.find("blend", head)
    return Spec.of("blend", entry.name, check_settings(entry, _settings(tail, f"blend {text!r}")))


def _settings(text: str, where: str) -> dict[str, Any]:
    """`key=value,key=value`; what stands in brackets may have commas of its own."""
    found: dict[str, Any] = {}
    for item in filter(None, split_words(text)):
        key, equals, value = item.partition("=")
        if not equals:
            raise UsageError(f"{where}: {item!r} is not key=value")
        found[key.strip()] = _value(value.strip())
    return found


def _value(text: str) -> Any:
    """A value; of words in brackets, several."""
    value = parse_value(text)
    if isinstance(value, str) and SHORT.fullmatch(value):
        return round(numbers.TOKENS(value, "the setting"))
    if isinstance(value, str) and text[:1] + text[-1:] in ("()", "[]"):
        return tuple(parse_value(word.strip()) for word in text[1:-1].split(",") if word.strip())
    return value


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
